"""What a manifest lists, whatever its form: entries with their place in a recording, and rows that cannot be used."""

import codecs
import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stablequant.errors import StableQuantError

AUDIO = {
    *(".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".sph", ".w64"),
    *(".aac", ".m4a", ".webm", ".wma"),  # by ffmpeg
}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class RowError(Exception):
    """One row of a manifest cannot be used; the message says why."""


@dataclass(frozen=True)
class Part:
    """The part of a recording that a row names, as it is written there.

    Attributes
    ----------
    start: where the part begins; None if the row does not say
    stop: where it ends; None if the row does not say
    length: how long it is; None if the row does not say. Some corpora mean the length of the whole file
    in_samples: whether the three are samples at the file's rate; otherwise they are seconds
    """

    start: float | None = None
    stop: float | None = None
    length: float | None = None
    in_samples: bool = False


@dataclass(frozen=True, slots=True)  # there may be a million
class ManifestEntry:
    """One utterance of a manifest.

    Attributes
    ----------
    line: line number in the manifest, from 1
    path: path of the audio file, relative to the root
    samples: length in samples at the file's rate; None if the manifest does not give it
    transcript: None if neither the manifest nor a file beside it gives it
    part: the part of the file that is the utterance; None for the whole file
    speaker: who speaks; None if the manifest does not say
    name: name of the utterance; None if it is that of the file
    channel: which channel of the file: a number from 0, or what a table says, see `channels.channel_of`; None for the
        mean of all
    """

    line: int
    path: str
    samples: int | None = None
    transcript: str | None = None
    part: Part | None = None
    speaker: str | None = None
    name: str | None = None
    channel: int | str | None = None


@dataclass(frozen=True)
class Rejection:
    """An entry of a manifest that cannot be used: its ``line`` and ``path``, and the ``reason``."""

    line: int
    path: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What is read of a split.

    Attributes
    ----------
    root: folder of the audio
    entries: in the order of the manifest
    rejections: rows that cannot be used
    source: the file whose lines are numbered
    """

    root: Path
    entries: list[ManifestEntry]
    rejections: list[Rejection] = field(default_factory=list)
    source: Path | None = None
    _names: dict[Path, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)

    def file(self, entry: ManifestEntry) -> Path:
        """The audio file of ``entry``, under the name that it has on disk; as listed if it does not exist.

        A name may be listed with composed letters (NFC) and stored with decomposed ones (NFD), as on macOS.
        """
        path = self.root / entry.path
        if entry.path.isascii() or os.path.lexists(path):
            return path
        path = self.root
        for part in PurePosixPath(entry.path).parts:
            path /= part if os.path.lexists(path / part) else self._names_in(path).get(composed(part), part)
        return path

    def files(self) -> list[str]:
        """The audio files of all entries, each once, as text: a Path for each of a million takes long."""
        root = str(self.root)
        found = (f"{root}/{e.path}" if e.path.isascii() else str(self.file(e)) for e in self.entries)
        return list(dict.fromkeys(found))

    def _names_in(self, folder: Path) -> dict[str, str]:
        """The names in ``folder`` by their composed forms. It is listed once, as it may hold a whole corpus."""
        if folder not in self._names:
            names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
            self._names[folder] = {composed(name): name for name in names}
        return self._names[folder]


def composed(name: str) -> str:
    """A name with composed letters (NFC), by which names are compared."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True)
class Listing:
    """What a reader of one form found.

    Attributes
    ----------
    entries: their paths are as written, so they may be absolute
    rejections: rows that cannot be used
    root: the folder that the paths are relative to, if the form decides it
    source: the file whose lines are numbered, if it is not the manifest
    """

    entries: list[ManifestEntry]
    rejections: list[Rejection]
    root: Path | None = None
    source: Path | None = None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, or in UTF-16 with a byte-order mark.

    Raises
    ------
    StableQuantError
        when it cannot be read, or has another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StableQuantError(path, f"the manifest cannot be read ({error.strerror})", "correct the path") from error
    utf16 = content.startswith(UTF16)
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise StableQuantError(path, "the manifest is not UTF-8 text", "write it as UTF-8") from error
    if b"\0" in content[:2] and not utf16:
        raise StableQuantError(path, "the manifest is UTF-16 without a byte-order mark", "write it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def first_line(path: Path) -> str:
    """The first of `read_lines`; no more is read than that takes. Errors are those of `read_lines`."""
    try:
        with path.open("rb") as file:
            utf16 = file.read(2) in UTF16
        with path.open(encoding="utf-16" if utf16 else "utf-8-sig") as text:
            return text.readline().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        return read_lines(path)[0]
