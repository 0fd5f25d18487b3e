"""Locks between processes, also on different machines, for what several builds share."""

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # errors of file systems without locks


def lock_file(path: Path) -> Path:
    """The file to lock for ``path``, beside it. It stays there: removing it would let two processes lock two files."""
    return path.with_name(f".{path.name}.lock")


def lock(path: Path, shared: bool = False, level: int = logging.INFO) -> BinaryIO:
    """Lock ``path``, which need not exist; wait until that is possible. The lock ends when the returned file is closed.

    That it waits is logged at ``level``. A shared lock allows other shared locks, but none that is not shared. Locks
    only keep other processes out: those of one process never wait for each other, and all its locks on ``path`` end
    when it closes one of them. On a file system without locks a warning is logged, and nothing is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = lock_file(path).open("a+b")
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            logging.log(level, "%s: in use by another process; waiting until it ends", path)
            fcntl.lockf(file, kind)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            file.close()
            raise
        logging.warning(
            "%s: this file system has no locks (%s); do not run two builds in this folder at once", path, error.strerror
        )
    return file


@contextmanager
def locked(path: Path, level: int = logging.INFO) -> Iterator[None]:
    """Hold a lock on ``path`` while the block runs, see `lock`."""
    with lock(path, level=level):
        yield
