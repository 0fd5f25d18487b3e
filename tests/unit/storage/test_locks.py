"""Locks keep processes apart that share a file, and say so where that is impossible."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from checkout import PROJECT

from stablequant.storage.locks import lock, locked

LOCK = """
import logging, sys
from pathlib import Path
from stablequant.storage.locks import lock
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
with lock(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def another(path, kind: str) -> subprocess.Popen:
    command = [sys.executable, "-u", "-c", LOCK, str(path), kind]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("ours", "theirs"), [("shared", "own"), ("own", "shared"), ("own", "own")])
def test_a_second_process_waits_and_says_for_what(tmp_path, ours, theirs):
    path = tmp_path / "new/activations"
    with lock(path, shared=ours == "shared"):
        second = another(path, theirs)
        assert second.stdout.readline() == f"{path}: in use by another process; waiting until it ends\n"
        assert second.poll() is None
    assert second.stdout.readline() == "locked\n"
    second.communicate("\n")
    assert not path.exists()


def test_readers_share(tmp_path):
    with lock(tmp_path / "a", shared=True):
        second = another(tmp_path / "a", "shared")
        assert second.stdout.readline() == "locked\n"
        second.communicate("\n")


def test_a_killed_process_keeps_no_lock(tmp_path):
    second = another(tmp_path / "a", "own")
    assert second.stdout.readline() == "locked\n"
    second.kill()
    second.wait()
    with locked(tmp_path / "a"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_the_work_goes_on(tmp_path, monkeypatch, caplog, code):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(tmp_path / "a"):
        pass
    fault = f"this file system has no locks ({os.strerror(code)})"
    assert caplog.messages == [f"{tmp_path / 'a'}: {fault}; do not run two builds in this folder at once"]


def test_another_fault_is_raised(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(OSError, match="broken"):
        lock(tmp_path / "a")
