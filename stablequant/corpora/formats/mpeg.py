"""MP3, and the other layers of MPEG audio.

Such a file is a row of frames, and no header states how many. Some encoders put a tag (Xing, Info, VBRI) into a first,
silent frame, which counts them. Without it libsndfile estimates the length from the file's size, and reads no further.
So we count the frames. Where the tag is missing or wrong, the decoder gets the frames without it through a pipe, whose
size it cannot ask for, so that it reads to the end.

Sources: ISO/IEC 11172-3 and 13818-3 (frame header), the "MP3 Info Tag" specification of LAME for the tag.
"""

import io
import struct
from dataclasses import dataclass

from stablequant.corpora.formats.stream import (
    AGAIN,
    EXTRA,
    LENGTH,
    AudioError,
    Stream,
    cut_off,
    id3_size,
    is_negligible,
)

# kbit/s by MPEG version (1, or 2 and 2.5) and layer
BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz by version bits
SEARCHED = 1 << 16  # bytes in which the next frame is looked for


@dataclass(frozen=True)
class Frame:
    """A frame by its header: its ``bytes`` with the header, its ``samples`` per channel, and what all frames share."""

    bytes: int
    samples: int
    kind: tuple[int, int, int]  # version bits, layer, sample rate in Hz
    mono: bool


def frame_at(content: bytes, position: int) -> Frame | None:
    """The frame whose header is at ``position``; None if there is no header, or one of free format."""
    head = content[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return None
    low = version != 3
    bits = 1000 * BITRATES[2 if low else 1, layer][bitrate - 1]
    hertz = RATES[version][rate]
    samples = 384 if layer == 1 else 576 if layer == 3 and low else 1152
    length = 4 * (samples // 32 * bits // hertz + padding) if layer == 1 else samples // 8 * bits // hertz + padding
    return Frame(length, samples, (version, layer, hertz), head[3] >> 6 == 3)


def is_mpeg(content: bytes) -> bool:
    """Whether ``content``, the start of a file behind its ID3 tag, begins with frames of MPEG audio."""
    return _next_frame(content, 0, None) is not None


def _next_frame(content: bytes, position: int, kind: tuple[int, int, int] | None) -> int | None:
    """Position of the next frame that another one of its kind, or the end, follows."""
    last = position + SEARCHED
    while (position := content.find(b"\xff", position, last)) >= 0:
        frame = frame_at(content, position)
        if frame and kind in (None, frame.kind):
            after = frame_at(content, position + frame.bytes)
            if (after and after.kind == frame.kind) or position + frame.bytes == len(content):
                return position
        position += 1
    return None


def check(content: bytes) -> Stream:
    """Check the frames of a whole file.

    Raises
    ------
    AudioError
        when the last frame is cut, when a tag counts more frames than there are, or when much lies between the frames
        that is no audio.
    """
    end = _without_tags(content)
    frames: list[bytes] = []
    first, extra, position = None, 0, 0
    while position < end:
        frame = frame_at(content, position)
        if frame and first and frame.kind != first.kind:
            frame = None
        if frame and (first or _next_frame(content, position, None) == position):
            first = first or frame
            if position + frame.bytes > end:
                raise _cut(first, len(frames))
            frames.append(content[position : position + frame.bytes])
            position += frame.bytes
            continue
        if first and end - position < 4 and content[position : position + 1] == b"\xff":
            raise _cut(first, len(frames))
        if tag := id3_size(content[position : position + 10]):
            position += tag
            continue
        found = _next_frame(content, position, first.kind if first else None)
        if found is None or found >= end:
            found = end
        extra += len(content[position:found].strip(b"\0"))
        position = found
    audio = sum(map(len, frames))
    if not first or not frames:
        raise AudioError("damaged or not audio (no whole frame of MPEG audio)")
    if not is_negligible(extra, audio):
        raise AudioError(f"damaged: {extra} of its {len(content)} bytes are no frames of MPEG audio; {AGAIN}")
    return _counted(frames, first, (EXTRA,) if extra else ())


def _cut(first: Frame, frames: int) -> AudioError:
    seconds = frames * first.samples / first.kind[2]
    return AudioError(f"cut off in the middle of its last frame, after {seconds:.2f} s; {AGAIN}")


def _without_tags(content: bytes) -> int:
    """Where the tags at the end of a file begin: ID3v1 (128 bytes) and APE."""
    end = len(content)
    if content[max(end - 128, 0) :].startswith(b"TAG"):
        end -= 128
    if content[max(end - 32, 0) :].startswith(b"APETAGEX"):
        size, flags = struct.unpack("<I4xI", content[end - 20 : end - 8])
        end -= size + (32 if flags >> 31 else 0)
    return max(end, 0)


def _counted(frames: list[bytes], first: Frame, notes: tuple[str, ...]) -> Stream:
    """The frames, with a tag only if that counts them right."""
    audio = [frame for frame in frames if _tag(frame, first) is None]
    stated, size = _tag(frames[0], first) or (None, None)
    short = (stated or 0) - len(audio)
    if short > 1 or (short == 1 and (size or 0) > sum(map(len, frames))):  # some encoders count the tag's frame too
        raise cut_off(len(audio), stated or 0, "frames")
    if not audio:
        raise AudioError("no audio in it, only a tag")
    if stated == len(audio) == len(frames) - 1:  # with it goes what the encoder added, which the decoder removes
        return Stream((io.BytesIO(b"".join(frames)),), notes=notes)
    samples = len(audio) * first.samples
    return Stream((io.BytesIO(b"".join(audio)),), samples, (*notes, LENGTH), through_pipe=True)


def _tag(frame: bytes, header: Frame) -> tuple[int | None, int | None] | None:
    """Frames and bytes that the tag in the first frame states (None: it does not); None if it is no tag."""
    if header.kind[1] != 3:
        return None
    if frame[36:40] == b"VBRI":
        size, count = struct.unpack(">II", frame[46:54].ljust(8, b"\0"))
        return count, size
    side = (17 if header.mono else 32) if header.kind[0] == 3 else (9 if header.mono else 17)  # bytes before the tag
    place = next((p for p in (4 + side, 6 + side) if frame[p : p + 4] in (b"Xing", b"Info")), None)
    if place is None:
        return None
    flags, *values = struct.unpack(">III", frame[place + 4 : place + 16].ljust(12, b"\0"))
    fields = iter(values)
    return next(fields) if flags & 1 else None, next(fields) if flags & 2 else None
