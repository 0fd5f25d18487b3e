"""What a job says when the machine, not the program, is at fault."""

import errno
import os
import subprocess
import sys

import pytest
from conftest import PROJECT

from stablequant.errors import StableQuantError
from stablequant.storage.files import read_table, read_tensors, write_text
from stablequant.faults import fault_of_the_machine

JOB = """
import sys; sys.path.insert(0, {project!r})
from stablequant.workflow.jobs import job
with job({log!r}):
    raise {error}
"""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left", "results/x.onnx"),
            "results/x.onnx: no space is left on the disk;",
        ),
        (OSError(errno.EROFS, "Read-only", "results/x"), "results/x: the file system is read-only; make it writable"),
        (PermissionError(errno.EACCES, "denied", "results/x"), "results/x: not permitted; correct the permissions"),
        (MemoryError(), "out of memory; lower 'batch_mb'"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory; lower 'batch_mb'"),
    ],
)
def test_a_fault_of_the_machine_is_one_sentence_with_a_remedy(error, sentence):
    assert fault_of_the_machine(error).startswith(sentence)


def test_any_other_error_keeps_its_trace():
    assert fault_of_the_machine(ValueError("x")) is None
    assert fault_of_the_machine(OSError(errno.ENOENT, "gone", "x")) is None


@pytest.mark.parametrize(
    ("error", "trace"), [("OSError(28, 'No space left on device', 'results/a')", False), ("KeyError('a')", True)]
)
def test_a_job_ends_with_a_sentence_or_a_trace(tmp_path, error, trace):
    script = JOB.format(project=str(PROJECT), log=str(tmp_path / "job.log"), error=error)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    log = (tmp_path / "job.log").read_text()
    assert ("Traceback" in log) == trace
    assert trace or "results/a: no space is left on the disk" in log


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
