"""The words that an n-gram language model knows, from its file."""

import gzip
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from stablequant.errors import StableQuantError

GZIP = b"\x1f\x8b"
BINARY = b"mmap lm http://kheafield.com/code"  # how KenLM's binaries begin
MARKS = ("<unk>", "<s>", "</s>", "<UNK>")
REMEDY = "give a model as ARPA (also gzipped) or KenLM's binary"


def read_words(file: Path) -> list[str]:
    """The words of a model in ARPA format, which may be gzipped, or in KenLM's binary format.

    A binary has its words behind the model, each ended by a zero byte, ``<unk>`` first (KenLM, ``lm/vocab.cc``).

    Raises `StableQuantError` if ``file`` cannot be read, or if no words are found in it.
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(len(BINARY))
        listed = _in_binary(file) if head == BINARY else list(_in_arpa(file, head[:2] == GZIP))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StableQuantError(file, f"not a readable language model ({reason})", REMEDY) from error
    words = [word for word in listed if word not in MARKS]
    if not words:
        raise StableQuantError(file, "not a language model: no words in it", REMEDY)
    return words


def _in_arpa(file: Path, packed: bool) -> Iterator[str]:
    """The second column of the lines between ``\\1-grams:`` and the next part."""
    with gzip.open(file, "rt", encoding="utf-8") if packed else file.open(encoding="utf-8") as lines:
        inside = False
        for line in lines:
            if line.startswith("\\"):
                if inside:
                    return
                inside = line.strip() == "\\1-grams:"
            elif inside and len(columns := line.split()) > 1:
                yield columns[1]


def _in_binary(file: Path) -> list[str]:
    with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        first = content.rfind(b"<unk>\0")
        return [] if first < 0 else content[first:].decode().rstrip("\0").split("\0")
