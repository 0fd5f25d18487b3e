r"""Paths in manifests that were written on Windows: ``clips\a.wav`` and ``C:\data\a.wav``."""

import re
from pathlib import Path

from stablequant.errors import StableQuantError

ABSOLUTE = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # with the letter of a drive, or the name of a machine


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; it is none if its name is impossible."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # an impossible file name
        return False


def with_slashes(root: Path, name: str) -> str:
    """``name`` with slashes for backslashes, unless a file below ``root`` has these in its name."""
    return name if "\\" not in name or is_file(root / name) else name.replace("\\", "/")


def check_is_relative(place: str, root: Path, name: str) -> None:
    """Raise `StableQuantError`, which names ``place``, if ``name`` is absolute on Windows, and no file in ``root``."""
    if ABSOLUTE.match(name) and not is_file(root / name):
        raise StableQuantError(
            place,
            f"'{name[:80]}' is a path of Windows, which means nothing here",
            "write paths relative to the folder of the audio, as clips/a.wav, and name that folder ('audio_root')",
        )
