"""Formats whose header states the bytes of samples: WAV, RF64, W64, AIFF, AU, CAF and NIST SPHERE.

libsndfile reads such a file up to its end even if the header states more. So we compare the two.

Sources: the RIFF specification (Microsoft, 1991), EBU Tech 3306 (RF64), Sony's Wave64 specification, Apple's AIFF-C and
Core Audio Format specifications, the manual of Sun's AU, and NIST's sphere.h.
"""

import io
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from stablequant.corpora.formats import mpeg
from stablequant.corpora.formats.stream import (
    AGAIN,
    EXTRA,
    LENGTH,
    AudioError,
    Stream,
    cut_off,
    is_negligible,
    read_at,
    size_of,
)

MOST_CHUNKS = 10_000
PADDING = 8  # bytes that may follow the last chunk
HEADER = 1 << 16  # bytes in which a WAV's format chunk is looked for
WHOLE_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM")  # chunks that are files of their own
W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # ends the name of all chunks in W64 but the first
MPEG_LAYER_3 = 0x55  # format tag of WAV


@dataclass(frozen=True)
class Chunked:
    """How a format lays out its chunks.

    Attributes
    ----------
    outer: position of the size of the whole, and its `struct` code; None if the format has none
    outer_excess: bytes of the file that this size does not count
    first: position of the first chunk
    head: `struct` code of a chunk's name and size
    counted: bytes of this head that the size counts
    align: chunks begin at multiples of this
    data: name of the chunk with the samples
    before: bytes in that chunk before the samples
    open_ended: stated sizes that mean: up to the end of the file
    reads_on: whether libsndfile reads what follows the samples as samples
    """

    outer: tuple[int, str] | None
    outer_excess: int
    first: int
    head: str
    counted: int
    align: int
    data: bytes
    before: int
    open_ended: tuple[range, ...]
    reads_on: bool = False


# Programs that write to a pipe leave 0, the largest number, or about the largest signed number (arecord, sox).
UNKNOWN_32 = (
    range(1),
    range(0x7F00_0000, 0x7F00_0100),
    range(0x7FFF_F000, 0x8000_0001),
    range(0xFFFF_F000, 0x1_0000_0000),
)
UNKNOWN_64 = (range(-24, 1), range(0x7FFF_FFFF_FFFF_0000, 0x8000_0000_0000_0000), range(2**64 - 24, 2**64))
WAV = Chunked((4, "<I"), 8, 12, "<4sI", 0, 2, b"data", 0, UNKNOWN_32)
FORMATS = {
    b"RIFF": WAV,
    b"RF64": WAV,
    b"BW64": WAV,
    b"RIFX": Chunked((4, ">I"), 8, 12, ">4sI", 0, 2, b"data", 0, UNKNOWN_32),
    b"FORM": Chunked((4, ">I"), 8, 12, ">4sI", 0, 2, b"SSND", 8, (*UNKNOWN_32, range(8, 9))),
    b"riff": Chunked((16, "<Q"), 0, 40, "<16sQ", 24, 8, b"data" + W64_GUID, 0, UNKNOWN_64, True),
    b"caff": Chunked(None, 0, 8, ">4sq", 0, 1, b"data", 4, (range(-1, 0),)),
}


def check(file: BinaryIO, magic: bytes) -> Stream:
    """Check a file that begins with ``magic``, a key of `FORMATS`, ``.snd`` or ``NIST``.

    Raises
    ------
    AudioError
        when the header states more samples than there are, or much follows the samples that is no audio.
    """
    if magic == b".snd":
        return _check_au(file)
    if magic == b"NIST":
        return _check_sphere(file)
    return _check_chunks(file, FORMATS[magic])


@dataclass(frozen=True)
class Stated:
    """What the header states: the bytes of the data chunk, the size of the whole file, and where both are written.

    ``fields`` holds the place and the `struct` code of each, and what it counts beside the data chunk.
    """

    data: int
    whole: int
    fields: list[tuple[int, str, int]]
    open_ended: tuple[range, ...]


def _check_chunks(file: BinaryIO, form: Chunked) -> Stream:
    size = size_of(file)
    begin, data = _data_chunk(file, form, size)
    stated = _ds64(file, begin) if form is WAV and data == 0xFFFF_FFFF else None
    stated = stated or _stated(file, form, begin, data)
    there = size - begin
    unknown = any(stated.data in numbers for numbers in stated.open_ended)
    if 0 <= stated.data <= form.before and _after_chunks(file, form, begin + stated.data, size) <= PADDING:
        unknown = False  # no samples, rightly
    if not unknown and stated.data > there:
        raise cut_off(max(there - form.before, 0), stated.data - form.before, "bytes of samples")
    end = size if unknown else begin + stated.data
    if _holds_mpeg(file, form, begin):
        return mpeg.check(read_at(file, begin, end - begin))
    left = _after_chunks(file, form, end, size)
    if unknown or (left > PADDING and stated.whole == size):
        return _open_ended(file, there, stated.fields)
    if end < size and form.reads_on:
        return _without_rest(file, begin, end, left)
    return _without_rest(file, begin, size - left, left)


def _stated(file: BinaryIO, form: Chunked, begin: int, data: int) -> Stated:
    """What the header states of a data chunk of ``data`` bytes that begins at ``begin``."""
    code = form.head[0] + form.head[-1]
    fields = [(begin - struct.calcsize(code), code, form.counted)]
    whole = 0
    if form.outer:
        place, code = form.outer
        whole = int(struct.unpack(code, read_at(file, place, struct.calcsize(code)))[0]) + form.outer_excess
        fields.append((place, code, begin - form.outer_excess))
    return Stated(data, whole, fields, form.open_ended)


def _ds64(file: BinaryIO, begin: int) -> Stated | None:
    """What RF64 states in its second chunk; None if there is no such chunk."""
    head = read_at(file, 12, 24)
    if len(head) < 24 or head[:4] != b"ds64":
        return None
    whole, data = struct.unpack("<8xQQ", head)
    return Stated(data, whole + 8, [(20, "<Q", begin - 8), (28, "<Q", 0)], UNKNOWN_64)


def _data_chunk(file: BinaryIO, form: Chunked, size: int) -> tuple[int, int]:
    """Where the content of the chunk with the samples begins, and the size that the chunk states."""
    position, length = form.first, struct.calcsize(form.head)
    for _ in range(MOST_CHUNKS):
        head = read_at(file, position, length)
        if len(head) < length:
            break
        name, stated = struct.unpack(form.head, head)
        stated -= form.counted
        if name == form.data:
            return position + length, stated
        if stated < 0:
            break
        position += length + stated
        position += -position % form.align
    raise AudioError(f"cut off or damaged: {size} bytes, and no samples among them; {AGAIN}")


def _after_chunks(file: BinaryIO, form: Chunked, end: int, size: int) -> int:
    """Bytes at the end of the file that belong to no chunk. ``end`` is where the chunk with the samples ends."""
    length = struct.calcsize(form.head)
    for _ in range(MOST_CHUNKS):
        position = end + -end % form.align
        head = read_at(file, position, length)
        if len(head) < length:
            break
        name, stated = struct.unpack(form.head, head)
        stated -= form.counted
        letters = name[:4]
        known = all(32 <= letter < 127 for letter in letters) and letters not in WHOLE_FILES
        if not known or not 0 <= stated <= size - position - length:
            break
        end = position + length + stated
    return max(size - end, 0)


def _open_ended(file: BinaryIO, there: int, fields: list[tuple[int, str, int]]) -> Stream:
    """The file with the sizes in ``fields`` as they should be, for libsndfile; ``there`` bytes are samples."""
    content = bytearray(read_at(file, 0))
    if content[-128:].startswith(b"TAG"):  # ID3v1
        del content[-128:]
        there -= 128
    if re.search(rb"RIFF.{4}WAVEfmt ", content[WAV.first :], re.DOTALL):
        raise AudioError("its header states no length, and another file follows in it; part them")
    for place, code, added in fields:
        largest = 2 ** (8 * struct.calcsize(code)) - 1
        struct.pack_into(code, content, place, min(there + added, largest))
    return Stream((io.BytesIO(content),), notes=(LENGTH,), by_ffmpeg=True)


def _without_rest(file: BinaryIO, begin: int, end: int, left: int) -> Stream:
    """The file up to ``end``. ``left`` bytes after its last chunk are no audio; if they are many, raise."""
    if left > PADDING and not is_negligible(left, end - begin):
        raise AudioError(
            f"the header states {end - begin} bytes of samples, but {left} more follow; if files were joined, part them"
        )
    if end == size_of(file):
        return Stream((file,), by_ffmpeg=True)
    notes = (EXTRA,) if left > PADDING else ()
    return Stream((io.BytesIO(read_at(file, 0, end)),), notes=notes, by_ffmpeg=True)


def _holds_mpeg(file: BinaryIO, form: Chunked, begin: int) -> bool:
    """Whether the format chunk of a WAV says that its samples are MP3."""
    head = read_at(file, 0, min(begin, HEADER))
    place = head.find(b"fmt ", 12)
    return form is WAV and place >= 0 and head[place + 8 : place + 10] == struct.pack("<H", MPEG_LAYER_3)


def _check_au(file: BinaryIO) -> Stream:
    size = size_of(file)
    head = read_at(file, 0, 24)
    if len(head) < 24:
        raise AudioError(f"cut off in its header; {AGAIN}")
    start, stated = struct.unpack(">II", head[4:12])
    there = size - start
    if stated == 0xFFFF_FFFF or (stated == 0 and there > 0):
        return _open_ended(file, max(there, 0), [(8, ">I", 0)])
    if stated > there:
        raise cut_off(max(there, 0), stated, "bytes of samples")
    return _without_rest(file, start, start + stated, there - stated)


def _check_sphere(file: BinaryIO) -> Stream:
    """NIST SPHERE, as in TIMIT and WSJ: a header of text that counts the samples."""
    size = size_of(file)
    head = read_at(file, 0, 16)
    if not re.fullmatch(rb"NIST_1A\n\s*\d+\n", head):
        raise AudioError(f"cut off or damaged in its header; {AGAIN}")
    start = int(head[8:])
    if start > size:
        raise AudioError(f"cut off in its header; {AGAIN}")
    header = read_at(file, 0, min(start, 1 << 16))
    fields = dict(re.findall(rb"^(\w+) -(?:i|s\d+) (\d{1,18})\s*$", header, re.MULTILINE))
    coding = re.search(rb"^sample_coding -s\d+ (\S+)", header, re.MULTILINE)
    if coding and b"shorten" in coding[1]:
        raise AudioError("compressed by shorten; unpack it with sph2pipe")
    if b"sample_count" not in fields:
        return Stream((file,), notes=(LENGTH,))
    width = int(fields.get(b"sample_n_bytes", b"2")) * int(fields.get(b"channel_count", b"1"))
    stated, there = width * int(fields[b"sample_count"]), size - start
    if stated > there:
        raise cut_off(there, stated, "bytes of samples")
    return _without_rest(file, start, start + stated, there - stated)
