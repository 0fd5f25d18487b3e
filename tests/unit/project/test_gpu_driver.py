"""What drives the parts of ``make gpu``: a part that fails, hangs or dies leaves a row, and the others run."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from checkout import PROJECT

from stablequant.storage.files import read_table

sys.path.insert(0, str(PROJECT / "benchmarks"))
import gpu
import gpu_parts

PARTS = """
import json, os, subprocess, sys, time

name, file = sys.argv[1:]

def write(value, end="\\n"):
    with open(file, "a") as rows:
        rows.write(json.dumps({"case": name, "measure": "size", "value": value}) + end)

if name == "whole":
    write(1.0)
    write(2.0)
elif name == "raises":
    write(3.0)
    raise RuntimeError("no such GPU")
elif name == "dies":
    write(4.0)
    with open(file, "a") as rows:
        rows.write('{"case": "half a r')
    os.abort()
elif name == "hangs":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(file + ".child", "w") as written:
        written.write(str(child.pid))
    write(5.0)
    time.sleep(60)
"""


@pytest.fixture
def script(tmp_path) -> Path:
    file = tmp_path / "parts.py"
    file.write_text(PARTS)
    return file


def test_a_part_that_fails_leaves_a_row_and_the_others(script, tmp_path):
    parts = [gpu.Part(name, 30) for name in ("raises", "dies", "whole")]
    rows = gpu.run_parts(parts, script, tmp_path, 60)
    assert [(row["part"], row.get("value")) for row in rows] == [
        *(("raises", 3.0), ("raises", None)),
        *(("dies", 4.0), ("dies", None)),
        *(("whole", 1.0), ("whole", 2.0)),
    ]
    assert rows[1]["error"].startswith("RuntimeError: no such GPU (status 1, see ")
    assert "status -6" in rows[3]["error"]


def test_a_part_that_hangs_is_ended_with_all_that_it_started(script, tmp_path):
    start = time.monotonic()
    measured, error = gpu.run_part("hangs", script, tmp_path, 3)
    assert time.monotonic() - start < 20
    assert measured["value"] == 5.0
    assert error["error"].startswith("took more than 3 s")
    child = (tmp_path / "hangs.jsonl.child").read_text()
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(process: str) -> bool:
    """Whether a process runs; one that ended counts as gone before its parent has asked for its status."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def test_no_part_starts_when_the_time_is_over(script, tmp_path):
    rows = gpu.run_parts([gpu.Part("whole", 30)], script, tmp_path, 0)
    assert [row["error"] for row in rows] == ["no time was left for it"]


def test_the_parts_that_are_driven_are_those_that_exist():
    assert [part.name for part in gpu.PARTS] == list(gpu_parts.PARTS)
    assert gpu.LIMIT < 480, "eight minutes"


def test_engines_are_compared_with_fp32s():
    def latency(part: str, value: float, case: str = "10 s") -> dict:
        return {"part": part, "case": case, "measure": "median latency", "value": value}

    rows = [latency("engine-fp32", 30.0), latency("engine-int8", 10.0), latency("engine-int8", 1.0, "2 s")]
    rows.append({"part": "engine-fp32", "case": "did not finish", "error": "out of memory"})
    assert gpu.speedups(rows) == [
        {"part": "engine-int8", "case": "10 s", "measure": "times as fast as fp32", "value": 3.0}
    ]


def test_a_rehearsal_never_becomes_the_gpus_table(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TABLE", tmp_path / "gpu.tsv")
    rows = [{"part": "parity", "case": "demo", "measure": "words", "value": 0.5, "target": "<= 1", "met": "yes"}]
    with pytest.raises(ValueError, match=r"gpu\.tsv is for what ran on a GPU"):
        gpu.write(gpu.table_of(rows, gpu.CPU), gpu.TABLE)
    assert not gpu.TABLE.exists()
    gpu.write(gpu.table_of(rows, gpu.CPU), tmp_path / "other/rehearsal.tsv")
    gpu.write(gpu.table_of(rows, "NVIDIA (9.0)"), gpu.TABLE)
    assert set(read_table(gpu.TABLE)["device"]) == {"NVIDIA (9.0)"}


def test_a_committed_table_is_of_a_gpu():
    if gpu.TABLE.exists():
        devices = set(read_table(gpu.TABLE)["device"])
        assert len(devices) == 1
        assert gpu.CPU not in devices


def test_the_report_says_what_could_not_run():
    rows = [
        {
            **{"part": "probe", "case": "demo", "measure": "the slowest", "value": 1.25, "unit": "times"},
            **{"target": "<= 1.15", "met": "no"},
        },
        {"part": "engine-int8", "case": "did not finish", "error": "the plan was refused"},
    ]
    shown = gpu.markdown(pd.DataFrame(gpu.table_of(rows, "NVIDIA (9.0)")))
    assert "1.25 times" in shown
    assert "<= 1.15 (no)" in shown
    assert shown.endswith("Could not run:\n- engine-int8: the plan was refused")
