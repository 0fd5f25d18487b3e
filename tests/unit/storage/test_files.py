"""Files that are whole or absent, and what is said of those that are damaged."""

import os
import subprocess
import sys

import pytest

from stablequant.errors import StableQuantError
from stablequant.storage.files import read_table, read_tensors, write_text


def test_damaged_intermediates_are_named_with_the_remedy(tmp_path):
    (tmp_path / "h.safetensors").write_bytes(b"half")
    with pytest.raises(StableQuantError, match=r"h\.safetensors: damaged .*; delete it, and run again"):
        read_tensors(tmp_path / "h.safetensors")
    (tmp_path / "t.tsv").write_bytes(b"")
    with pytest.raises(StableQuantError, match=r"t\.tsv: not readable as a table .*; delete it, and run again"):
        read_table(tmp_path / "t.tsv")


def test_what_a_killed_job_left_is_swept_by_the_next_and_nothing_else_is(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".a.json.{dead.pid}", f".a.json.{os.getppid()}", f".b.json.{dead.pid}", ".a.json.notes"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".a.json.{dead.pid}.xyz").mkdir()
    write_text(tmp_path / "a.json", "{}")
    left = {f".a.json.{os.getppid()}", f".b.json.{dead.pid}", ".a.json.notes", "a.json"}
    assert {file.name for file in tmp_path.iterdir()} == left
