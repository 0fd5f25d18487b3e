"""Formats that only ffmpeg reads: whether all of the file is there, by the sizes that it states.

Sources: ISO/IEC 14496-12, section 4.2 (boxes of MP4), RFC 8794 (EBML, of which Matroska and WebM are made), Microsoft's
Advanced Systems Format specification, section 3.2 (WMA).
"""

import struct
from typing import BinaryIO

from stablequant.corpora.formats.sized import UNKNOWN_32
from stablequant.corpora.formats.stream import AGAIN, AudioError, cut_off, read_at, size_of

MOST_BOXES = 100_000
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
ASF = bytes.fromhex("3026b2758e66cf11")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object with the file's size
BOXES = frozenset(  # of the outermost level
    b"ftyp moov mdat free skip wide moof mfra sidx ssix styp udta meta meco uuid pnot PICT emsg prft pdin".split()
)
BROADCAST = 1  # flag of a recording whose size was not written


def name(file: BinaryIO) -> str | None:
    """The format of an open file, in words; None if it is not one of these."""
    head = read_at(file, 0, 12)
    if head[4:8] == b"ftyp":
        return "MP4 (M4A)"
    if head[:4] == EBML:
        return "WebM (Matroska)"
    if head[:8] == ASF:
        return "WMA"
    return "AVI" if head[:4] == b"RIFF" and head[8:] == b"AVI " else None


def check(file: BinaryIO) -> None:
    """Raise AudioError if the file states that it is longer than it is. Formats without such sizes pass."""
    found = name(file)
    if found in CHECKS:
        CHECKS[found](file)


def _compare(file: BinaryIO, stated: int) -> None:
    if stated > (there := size_of(file)):
        raise cut_off(there, stated, "bytes")


def _check_mp4(file: BinaryIO) -> None:
    position, boxes = 0, set()
    for _ in range(MOST_BOXES):
        head = read_at(file, position, 16)
        if len(head) < 8:
            break
        length, box = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:])
        if box not in BOXES or 1 < length < 8:
            break  # bytes that are no box
        boxes.add(box)
        if length == 0:  # up to the end of the file
            break
        position += length
    _compare(file, position)
    if b"moov" not in boxes:
        raise AudioError(f"cut off, or never finished: the index of an MP4 (moov) is missing; {AGAIN}")


def _check_matroska(file: BinaryIO) -> None:
    position = 4
    for _ in range(2):
        head = read_at(file, position, 8)
        length = 9 - head[0].bit_length() if head and head[0] else 0
        if not length or len(head) < length:
            raise AudioError(f"cut off or damaged in its header; {AGAIN}")
        size = int.from_bytes(head[:length]) & ((1 << 7 * length) - 1)
        position += length
        if read_at(file, position + size, 4) == SEGMENT:
            position += size + 4
            continue
        if size != (1 << 7 * length) - 1:  # all ones: not known, as in what a browser records
            _compare(file, position + size)
        return


def _check_asf(file: BinaryIO) -> None:
    head = read_at(file, 0, 1 << 16)
    place = head.find(ASF_FILE)
    if place >= 0 and len(head) >= place + 92:
        stated, flags = struct.unpack("<Q40xI", head[place + 40 : place + 92])
        if not flags & BROADCAST:
            _compare(file, stated)


def _check_avi(file: BinaryIO) -> None:
    stated = int.from_bytes(read_at(file, 4, 4), "little")
    if not any(stated in numbers for numbers in UNKNOWN_32):
        _compare(file, 8 + stated)


CHECKS = {"MP4 (M4A)": _check_mp4, "WebM (Matroska)": _check_matroska, "WMA": _check_asf, "AVI": _check_avi}
