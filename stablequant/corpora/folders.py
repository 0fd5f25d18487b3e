"""Folders of audio: the recordings below them, and LibriSpeech's files of transcripts beside these."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stablequant.corpora.entries import AUDIO, Manifest, ManifestEntry
from stablequant.errors import StableQuantError

TRANSCRIPTS = ".trans.txt"  # how LibriSpeech's files of transcripts end, which lie beside the audio
OF_MACOS = "._"  # how the files begin that macOS keeps beside others on foreign disks (AppleDouble)


def transcript_files(folder: Path) -> list[Path]:
    """LibriSpeech's files of transcripts in ``folder``, for the audio beside them."""
    return sorted(file for file in folder.glob(f"*{TRANSCRIPTS}") if not file.name.startswith(OF_MACOS))


def audio_files(root: Path) -> list[Path]:
    """Audio files below ``root``, sorted by path; links to folders are followed, and what macOS adds is left out.

    A folder to which several ways lead is listed once: under its own name if it lies below ``root``, otherwise behind
    the first link to it.

    Raises
    ------
    StableQuantError
        when a folder cannot be listed, or when a link that may be a folder's leads nowhere.
    """
    return sorted(file for folder, names in _folders(root) for file in _audio_in(folder, names))


def list_folder(root: Path) -> Manifest:
    """The `audio_files` below ``root`` as a manifest without lengths and transcripts; no file is opened.

    Raises
    ------
    StableQuantError
        as `audio_files` does, and when no file of transcripts lies beside any of the audio.
    """
    files: list[Path] = []
    transcribed = False
    for folder, names in _folders(root):
        audio = _audio_in(folder, names)
        files += audio
        transcribed = transcribed or (bool(audio) and any(name.endswith(TRANSCRIPTS) for name in names))
    if files and not transcribed:
        raise StableQuantError(
            root,
            f"{len(files)} audio files, and no transcripts ({TRANSCRIPTS} files) beside them",
            "name the table that lists the files with their words, or write one",
        )
    listed = enumerate(sorted(files), start=1)
    return Manifest(root, [ManifestEntry(number, str(file.relative_to(root))) for number, file in listed])


def _audio_in(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if Path(name).suffix.lower() in AUDIO]


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below ``root`` once, ``root`` too, and the names of its files but for those of macOS."""
    seen: set[Path] = set()
    ways = [root]  # those behind links come after all that lie below the root themselves
    for way in ways:
        for place, folders, names in os.walk(way, onerror=_refuse):
            folder = Path(place)
            real = folder.resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            ways += [folder / name for name in folders if (folder / name).is_symlink()]
            kept = [name for name in names if not name.startswith(OF_MACOS)]
            for name in kept:
                _check_link(folder / name)
            yield folder, kept


def _refuse(error: OSError) -> None:
    raise StableQuantError(
        error.filename, f"the folder cannot be listed ({error.strerror})", "make it readable, or leave it out"
    ) from error


def _check_link(file: Path) -> None:
    """Raise `StableQuantError` if a link leads nowhere and may be a folder's, as its name has no suffix."""
    if not file.suffix and not file.name.startswith(".") and file.is_symlink() and not file.exists():
        raise StableQuantError(
            file, f"a link to '{file.readlink()}', which is not here", "mount or fetch that, or remove the link"
        )
