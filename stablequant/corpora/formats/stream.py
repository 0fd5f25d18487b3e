"""What a check of an audio file finds out, and the words in which a fault is told."""

import io
from dataclasses import dataclass
from typing import BinaryIO

LENGTH = "no length or a wrong one in the header; decoded to the end"
EXTRA = "bytes that are no audio were left out"
UNCHECKED = "a rare format; whether all of the audio is there could not be checked"
GARBAGE = 4096  # bytes that are no audio and are left out whatever the file's size
MOST_TAGS = 100  # ID3 tags before the audio; a file of nothing else would keep us busy
AGAIN = "copy or download it again"


class AudioError(Exception):
    """The audio of one utterance cannot be used; the message says why."""


@dataclass(frozen=True)
class Stream:
    """Audio that is all there, in a form that the decoder reads to its end.

    Attributes
    ----------
    parts: what is decoded, one after another; more than one where files were joined
    samples: number of samples per channel that all parts together must give; None if only the decoder can tell
    notes: what the user should know of the file, of `LENGTH`, `EXTRA` and `UNCHECKED`
    through_pipe: whether libsndfile would estimate a length from the size of the file, which it must not know
    by_ffmpeg: whether ffmpeg may decode it if libsndfile cannot, whatever the reason
    """

    parts: tuple[BinaryIO, ...]
    samples: int | None = None
    notes: tuple[str, ...] = ()
    through_pipe: bool = False
    by_ffmpeg: bool = False


def cut_off(there: int, stated: int, unit: str) -> AudioError:
    """The error for a file of which only ``there`` of ``stated`` units are left."""
    return AudioError(f"cut off: {there} of {stated} {unit} are there ({100 * there // max(stated, 1)} %); {AGAIN}")


def is_negligible(extra: int, audio: int) -> bool:
    """Whether ``extra`` bytes that are no audio may be left out beside ``audio`` bytes that are."""
    return extra <= max(GARBAGE, audio // 10)


def size_of(file: BinaryIO) -> int:
    """Size of an open file in bytes."""
    return file.seek(0, io.SEEK_END)


def read_at(file: BinaryIO, position: int, count: int = -1) -> bytes:
    """``count`` bytes from ``position``, or all up to the end; none behind the end, wherever a header points."""
    if not 0 <= position <= size_of(file):
        return b""
    file.seek(position)
    return file.read(count)


def after_id3(file: BinaryIO) -> int:
    """Position after the ID3v2 tags at the start of a file; 0 if there is none. Raises AudioError if there are many."""
    position = 0
    for _ in range(MOST_TAGS + 1):
        size = id3_size(read_at(file, position, 10))
        if not size:
            return position
        position += size
    raise AudioError(f"more than {MOST_TAGS} ID3 tags before the audio; remove them, or convert it to FLAC")


def id3_size(head: bytes) -> int:
    """Size in bytes of the ID3v2 tag that begins with ``head`` (10 bytes); 0 if it is none.

    Source: ID3v2.4 main structure, section 3.1: the size is in four bytes of seven bits, without the 10 of the header.
    """
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = 10 if head[5] & 0x10 else 0
    return 10 + size + footer
