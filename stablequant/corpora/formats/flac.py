"""FLAC: the number of samples, by the file's last frame.

The header may state 0 samples, as encoders leave it that write to a pipe, or a wrong number. Each frame carries its
number and a checksum, so the last one tells how long the audio is, and whether the file was cut.

Source: RFC 9639, sections 8.2 (streaminfo) and 9 (frames).
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from stablequant.corpora.formats.stream import AGAIN, EXTRA, LENGTH, AudioError, Stream, cut_off, is_negligible

SEARCHED = 1 << 20  # bytes at the end of the file in which the last frame is looked for
HEADER = 42  # bytes of the magic and of streaminfo
MAGIC = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # with the head of streaminfo, which may be the last of its kind
TOTAL = 18  # position of the eight bytes with rate, channels, bits per sample and, in 36 bits, the number of samples
MOST_TRIED = 16  # headers that are tried as the last frame's


@dataclass(frozen=True)
class Frame:
    """A frame's first byte in the bytes that were searched, and its samples per channel: ``before`` it, and its own."""

    position: int
    before: int
    samples: int


def check(content: bytes) -> Stream:
    """Check a whole FLAC file, without the ID3 tag that may stand before it. Files that were joined are read in turn.

    Raises
    ------
    AudioError
        when it is cut.
    """
    starts = [match.start() for match in MAGIC.finditer(content)]
    checked = [_check_one(content[start:end]) for start, end in pairwise([*starts, len(content)])]
    if not checked:
        raise AudioError(f"damaged or not audio (FLAC without a header); {AGAIN}")
    notes = sorted({note for _, _, found in checked for note in found})
    return Stream(
        tuple(io.BytesIO(part) for part, _, _ in checked), sum(samples for _, samples, _ in checked), tuple(notes)
    )


def _check_one(content: bytes) -> tuple[bytes, int, tuple[str, ...]]:
    """A file as the decoder should get it, its number of samples per channel, and notes."""
    if len(content) < HEADER:
        raise AudioError(f"cut off in its header; {AGAIN}")
    fields = int.from_bytes(content[TOTAL : TOTAL + 8])
    stated, rate = fields % (1 << 36), fields >> 44
    end = len(content) - (128 if content[-128:].startswith(b"TAG") else 0)  # without ID3v1
    tail = content[max(HEADER, end - SEARCHED) : end]
    tried = list(islice(_frames_backwards(tail, block=int.from_bytes(content[10:12])), MOST_TRIED))
    if not tried and not stated:
        raise AudioError("no audio in it")
    last = next((frame for frame in tried if _is_whole(tail[frame.position :])), None)
    if last is None and not stated:
        seconds = tried[0].before / max(rate, 1)
        raise AudioError(f"cut off in the middle of its last frame, after about {seconds:.2f} s; {AGAIN}")
    if last is None:
        left = _garbage_after(tail, tried, stated)
        if left is None or not is_negligible(left, len(content) - left):
            raise cut_off(tried[0].before if tried else 0, stated, "samples")
        return content[: end - left], stated, (EXTRA,)
    there = last.before + last.samples
    if there < stated:
        raise cut_off(there, stated, "samples")
    if there == stated:
        return content, stated, ()
    corrected = (fields - stated + there).to_bytes(8)
    return content[:TOTAL] + corrected + content[TOTAL + 8 :], there, (LENGTH,)


def _garbage_after(tail: bytes, tried: list[Frame], stated: int) -> int | None:
    """Bytes of ``tail`` after the frame with the last of the ``stated`` samples; None if that frame is not whole."""
    for frame in tried:
        if frame.before + frame.samples == stated:
            for length in _whole_at(tail[frame.position :]):
                return len(tail) - frame.position - length
    return None


def _frames_backwards(tail: bytes, block: int) -> Iterator[Frame]:
    """What looks like a frame's header, from the end of ``tail`` on. ``block``: samples of all frames but the last."""
    position = len(tail)
    while (position := tail.rfind(b"\xff", 0, position)) >= 0:
        if frame := _frame_at(tail, position, block):
            yield frame


def _frame_at(tail: bytes, position: int, block: int) -> Frame | None:
    head = tail[position : position + 16]
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    sizes, rates = head[2] >> 4, head[2] & 15
    length, number = _number(head[4:])
    if length == 0 or sizes == 0 or rates == 15:
        return None
    after = 4 + length
    samples = 192 if sizes == 1 else 576 << (sizes - 2) if sizes < 6 else 256 << (sizes - 8) if sizes > 7 else 0
    if sizes in (6, 7):
        samples = int.from_bytes(head[after : after + sizes - 5]) + 1
        after += sizes - 5
    after += {12: 1, 13: 2, 14: 2}.get(rates, 0)
    if after >= len(head) or _crc8(head[: after + 1]) != 0:
        return None
    return Frame(position, number if head[1] & 1 else number * block, samples)


def _number(head: bytes) -> tuple[int, int]:
    """Length in bytes and value of a number that is coded like a letter in UTF-8; length 0 if it is malformed."""
    first = head[0]
    if first < 0x80:
        return 1, first
    ones = 8 - (first ^ 0xFF).bit_length()
    rest = head[1:ones]
    if not 2 <= ones <= 7 or len(rest) < ones - 1 or any(byte >> 6 != 2 for byte in rest):
        return 0, 0
    number = first & (0x7F >> ones)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return ones, number


def _table(polynomial: int, bits: int) -> list[int]:
    """The remainders of all bytes by ``polynomial`` of ``bits`` bits."""
    remainders = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        remainders.append(value)
    return remainders


CRC8, CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value = CRC8[value ^ byte]
    return value


def _is_whole(content: bytes) -> bool:
    return len(content) in _whole_at(content)


def _whole_at(content: bytes) -> Iterator[int]:
    """The lengths at which the checksum of ``content`` is 0, as at the end of a frame, which ends with its checksum."""
    value = 0
    for length, byte in enumerate(content, start=1):
        value = (value << 8 & 0xFF00) ^ CRC16[value >> 8 ^ byte]
        if value == 0:
            yield length
