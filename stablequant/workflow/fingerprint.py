"""Detect changed files by their sizes and modification times, without reading them."""

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TOLERANCE = 60.0  # seconds that the clocks of two machines may differ


def fingerprint(files: Iterable[Path | str]) -> str:
    """Digest, 16 hexadecimal digits, of the names, sizes and modification times of ``files``.

    It differs after any change, even if a file was replaced by an older one.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(_line(file, _look(file)))
    return digest.hexdigest()[:16]


def fingerprint_with(files: Iterable[str], ending: str) -> str:
    """`fingerprint` of ``files`` and of all files in their folders whose names have ``ending``.

    Each folder is listed once: on a network disk that also brings what is asked of the files in it.
    """
    names: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        names.setdefault(folder, set()).add(name)
    digest = hashlib.sha256()
    for folder, listed in sorted(names.items()):
        found: dict[str, str] = {}
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name in listed or entry.name.endswith(ending):
                    found[entry.name] = _look(entry)
        for name in listed - found.keys():  # absent, or in a folder that cannot be listed
            found[name] = _look(f"{folder}/{name}" if folder else name)
        digest.update(b"".join(_line(f"{folder}/{name}", look) for name, look in sorted(found.items())))
    return digest.hexdigest()[:16]


def _look(file: Path | str | os.DirEntry[str]) -> str:
    """Size and modification time of ``file``; of a million files, a Path each would cost more than the look."""
    try:
        status = file.stat() if isinstance(file, os.DirEntry) else os.stat(file)  # noqa: PTH116
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def _line(file: Path | str, look: str) -> bytes:
    return os.fsencode(f"{file}\0{look}\n")


def set_back(folder: Path) -> float:
    """Correct modification times below ``folder`` that lie in the future; return the correction in seconds.

    Such times exist after the machine's clock was set back. These files would count as newer than all files made now.
    All times are reduced by the same amount, so that the newest becomes now and the order of the files stays the same.
    If the newest time is less than `TOLERANCE` seconds ahead, nothing is changed.
    """
    times = {}
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(place, name)
            times[path] = path.lstat()
    ahead = max((status.st_mtime for status in times.values()), default=0) - time.time()
    if ahead <= TOLERANCE:
        return 0.0
    for path, status in times.items():
        moment = status.st_mtime_ns - int(ahead * 1e9)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    return ahead
