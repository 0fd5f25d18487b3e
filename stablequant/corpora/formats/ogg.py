"""Ogg, which holds Vorbis, Opus, FLAC or Speex in pages.

The pages of a stream are numbered, and its last one is marked. libsndfile takes the last page that it finds for the
last, and reads only the first of several streams that were joined.

Source: RFC 3533, sections 4 and 6.
"""

import io
import struct
from dataclasses import dataclass

from stablequant.corpora.formats.stream import AGAIN, EXTRA, AudioError, Stream, is_negligible

HEAD = "<4sBBqIIIB"  # magic, version, flags, position in samples, stream, page, checksum, segments
FIRST, LAST = 2, 4  # flags of a page


@dataclass
class _Link:
    """Streams that lie beside one another: the first byte, the page that is due of each, and those that ended."""

    start: int
    due: dict[int, int]
    ended: set[int]


def check(content: bytes) -> Stream:
    """Check the pages of a whole file.

    Raises
    ------
    AudioError
        when the last page or one in between is missing.
    """
    links: list[_Link] = []
    position, extra = 0, 0
    while (found := content.find(b"OggS", position)) >= 0:
        extra += found - position
        head = content[found : found + struct.calcsize(HEAD)]
        if len(head) < struct.calcsize(HEAD):
            raise _cut(len(content))
        _, _, flags, _, stream, page, _, segments = struct.unpack(HEAD, head)
        lengths = content[found + len(head) : found + len(head) + segments]
        position = found + len(head) + segments + sum(lengths)
        if len(lengths) < segments or position > len(content):
            raise _cut(len(content))
        if flags & FIRST and (not links or links[-1].ended):
            links.append(_Link(found, {}, set()))
        if not links:
            raise AudioError(f"damaged: the first pages are missing; {AGAIN}")
        link = links[-1]
        if page != link.due.get(stream, page):
            raise AudioError(f"damaged: pages are missing after {found} bytes; {AGAIN}")
        link.due[stream] = page + 1
        if flags & LAST:
            link.ended.add(stream)
    extra += len(content) - position
    if any(link.due.keys() - link.ended for link in links):
        raise _cut(len(content))
    if not is_negligible(extra, len(content) - extra):
        raise AudioError(f"damaged: {extra} of its {len(content)} bytes are no pages of Ogg; {AGAIN}")
    starts = [link.start for link in links]
    parts = (content[start:end] for start, end in zip(starts, [*starts[1:], position], strict=True))
    return Stream(tuple(map(io.BytesIO, parts)), notes=(EXTRA,) if extra else (), by_ffmpeg=True)


def _cut(size: int) -> AudioError:
    return AudioError(f"cut off: its last page is missing, {size} bytes are there; {AGAIN}")
