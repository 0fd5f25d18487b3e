"""Detect changed files by their sizes and modification times, without reading them."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

TOLERANCE = 60.0  # seconds that the clocks of two machines may differ


def fingerprint(files: Iterable[Path | str]) -> str:
    """Digest, 16 hexadecimal digits, of the names, sizes and modification times of ``files``.

    It differs after any change, even if a file was replaced by an older one.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(file)  # noqa: PTH116 - of a million files, a Path each costs more than the look
            digest.update(f"{file}\0{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{file}\0absent\n".encode())
    return digest.hexdigest()[:16]


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
