"""Which format a file has, by its content, and whether all of it is there."""

from typing import BinaryIO

from stablequant.corpora.formats import containers, flac, mpeg, ogg, sized
from stablequant.corpora.formats.stream import AGAIN, UNCHECKED, AudioError, Stream, after_id3, read_at

LOOKED_AT = 1024  # bytes by which text is told from audio
WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
PLACEHOLDERS = {  # what lies in place of a file that was not fetched
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS, not the audio; run: git lfs pull",
    b"/annex/objects/": "a pointer of git-annex, not the audio; run: git annex get",
}


def check(file: BinaryIO) -> Stream:
    """Check that an open file is audio and that all of it is there, as far as its format tells.

    Raises
    ------
    AudioError
        when it is empty, text, or cut.
    """
    head = read_at(file, 0, LOOKED_AT)
    _refuse_text(head)
    start = after_id3(file)
    magic, kind = read_at(file, start, 4), read_at(file, start + 8, 4)
    if magic == b"fLaC":
        return flac.check(read_at(file, start))
    if magic == b"OggS":
        return ogg.check(read_at(file, start))
    if magic in (b".snd", b"caff", b"NIST", b"riff", b"RF64", b"BW64"):
        return sized.check(file, magic)
    if (magic in (b"RIFF", b"RIFX") and kind == b"WAVE") or (magic == b"FORM" and kind in (b"AIFF", b"AIFC")):
        return sized.check(file, magic)
    if (start or magic[:1] == b"\xff") and mpeg.is_mpeg(read_at(file, start, 2 * mpeg.SEARCHED)):
        return mpeg.check(read_at(file, 0))
    containers.check(file)
    return Stream((file,), notes=(UNCHECKED,))


def _refuse_text(head: bytes) -> None:
    """Raise AudioError if a file that begins with ``head`` is empty or text, and say which."""
    if not head:
        raise AudioError(f"an empty file (0 bytes); {AGAIN}")
    for sign, message in PLACEHOLDERS.items():
        if head.startswith(sign):
            raise AudioError(message)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGES):
        raise AudioError(f"a web page, not audio: the download failed; {AGAIN}")
    magic = (b"NIST_1A", b"RIFF", b"FORM", b"OggS", b"fLaC", b"ID3", b"caff", b".snd", b"riff", b"RF64")
    printable = all(byte >= 32 or byte in b"\t\n\f\r" for byte in head)
    if printable and not head.startswith(magic) and _is_utf8(head):
        first = head.decode(errors="replace").split("\n")[0]
        raise AudioError(f"damaged or not audio (a text that begins with '{first[:30].strip()}')")


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # the last letter may be cut
    return True
