"""Whether files are still those of before, told by their sizes and times and without reading them."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

TOLERANCE = 60.0  # seconds that the clocks of two machines may differ


def fingerprint(files: Iterable[Path | str]) -> str:
    """Digest of names, sizes and times: another one after any change, even where a file became older."""
    digest = hashlib.sha256()
    for file in files:
        try:
            known = Path(file).stat()
            digest.update(f"{file}\0{known.st_size} {known.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{file}\0absent\n".encode())
    return digest.hexdigest()[:16]


def set_back(folder: Path) -> float:
    """Set the times of all below ``folder`` back by as much as the newest is ahead of now; return the seconds.

    After a clock was set back, what was made before it would count as newer than anything made now. What is older or
    newer among the files themselves stays so. Less than `TOLERANCE` changes nothing.
    """
    times = {}
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(place, name)
            times[path] = path.lstat()
    ahead = max((known.st_mtime for known in times.values()), default=0) - time.time()
    if ahead <= TOLERANCE:
        return 0.0
    for path, known in times.items():
        moment = known.st_mtime_ns - int(ahead * 1e9)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    return ahead
