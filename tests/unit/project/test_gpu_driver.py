"""What drives the parts of ``make gpu``: a part that fails, hangs or dies leaves a row, and the others run."""

import json
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from checkout import PROJECT
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from snakemake.utils import update_config

from stablequant.storage.files import read_table
from stablequant.workflow.config import resolve_config

sys.path.insert(0, str(PROJECT / "benchmarks"))
import gpu
import gpu_graphs
import gpu_parts
import gpu_search
from project import CONFIG

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
elif name == "waits":
    while "2.0" not in open(file.replace("waits", "whole")).read():
        time.sleep(0.05)
    write(6.0)
elif name in ("hangs", "leaves"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(file + ".child", "w") as written:
        written.write(str(child.pid))
    write(5.0)
    time.sleep(60 if name == "hangs" else 0)
"""


# A process that is started in the background ignores SIGINT unless it says otherwise.
INTERRUPTED = """
import json, signal, sys
from pathlib import Path

folder, script, out = map(Path, sys.argv[1:])
sys.path.insert(0, str(folder))
import gpu

signal.signal(signal.SIGINT, signal.default_int_handler)
parts = [gpu.Part(name, 30) for name in ("whole", "hangs", "raises")]
found = list(gpu.run_parts(parts, script, out, 120))
print(json.dumps([[row.get("value") or row["error"] for row in rows] for rows in found]))
"""


@pytest.fixture
def script(tmp_path) -> Path:
    file = tmp_path / "parts.py"
    file.write_text(PARTS)
    return file


def test_a_part_that_fails_leaves_a_row_and_the_others(script, tmp_path):
    parts = [gpu.Part(name, 30) for name in ("raises", "dies", "whole")]
    rows = [row for found in gpu.run_parts(parts, script, tmp_path, 120) for row in found]
    assert [(row["part"], row.get("value")) for row in rows] == [
        *(("raises", 3.0), ("raises", None)),
        *(("dies", 4.0), ("dies", None)),
        *(("whole", 1.0), ("whole", 2.0)),
    ]
    assert rows[1]["error"].startswith("RuntimeError: no such GPU (status 1, see ")
    assert "status -6" in rows[3]["error"]


def test_a_part_that_hangs_is_ended_with_all_that_it_started(script, tmp_path):
    start = time.monotonic()
    measured, error = gpu.finish(gpu.start("hangs", script, tmp_path), 3)
    assert time.monotonic() - start < 20
    assert measured["value"] == 5.0
    assert error["error"].startswith("took more than 3 s")
    assert ends((tmp_path / "hangs.jsonl.child").read_text())


def test_what_a_part_leaves_behind_is_ended_while_its_number_is_still_its_own(script, tmp_path, monkeypatch):
    end, held = os.killpg, []

    def killpg(group: int, number: int) -> None:
        held.append(Path(f"/proc/{group}").exists())
        end(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    running = gpu.start("leaves", script, tmp_path)
    (row,) = gpu.finish(running, 30)
    gpu.end_session(running.process)  # as after all parts; its number may be another's by then
    assert row["value"] == 5.0
    assert held == [True]
    assert ends((tmp_path / "leaves.jsonl.child").read_text())


def ends(process: str) -> bool:
    """Whether a process that was sent a signal ends within 5 s."""
    deadline = time.monotonic() + 5
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(process)


def alive(process: str) -> bool:
    """Whether a process runs; one that ended counts as gone before its parent has asked for its status."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def test_no_part_starts_when_the_time_is_over(script, tmp_path):
    ((row,),) = gpu.run_parts([gpu.Part("whole", 30)], script, tmp_path, 0)
    assert row["error"] == "no time was left for it"


def test_a_part_leaves_its_share_of_the_time_to_those_after_it(script, tmp_path):
    parts = [gpu.Part("hangs", 1), gpu.Part("whole", 20)]
    start = time.monotonic()
    hung, whole = gpu.run_parts(parts, script, tmp_path, 22)
    assert time.monotonic() - start < 12
    assert hung[-1]["error"].startswith("took more than 2 s")
    assert [row["value"] for row in whole] == [1.0, 2.0]


def test_a_part_that_starts_early_runs_beside_those_before_it(script, tmp_path):
    parts = [gpu.Part("waits", 20), gpu.Part("whole", 20, early=True)]
    waited, whole = gpu.run_parts(parts, script, tmp_path, 60)
    assert waited == [{"part": "waits", "case": "waits", "measure": "size", "value": 6.0}]
    assert [row["value"] for row in whole] == [1.0, 2.0]


def test_an_interrupt_keeps_what_was_measured(script, tmp_path):
    """In a process of its own: tests share theirs with libraries that may handle signals otherwise."""
    command = [sys.executable, "-c", INTERRUPTED, PROJECT / "benchmarks", script, tmp_path]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    hanging, deadline = tmp_path / "hangs.jsonl", time.monotonic() + 60
    while not (hanging.exists() and hanging.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "it never started"
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    printed, _ = driver.communicate(timeout=60)
    assert json.loads(printed.splitlines()[-1]) == [[1.0, 2.0], [5.0, "interrupted"], ["interrupted"]]
    assert not alive((tmp_path / "hangs.jsonl.child").read_text())


def test_the_parts_that_are_driven_are_those_that_exist():
    assert [part.name for part in gpu.PARTS] == list(gpu_parts.PARTS)
    assert sum(part.limit for part in gpu.PARTS) <= gpu.LIMIT < 480, "eight minutes"


def test_the_config_of_the_search_is_one_that_the_workflow_takes(monkeypatch):
    splits = {name: f"tsv/demo-{name}.tsv" for name in ("calibration", "evaluation")}
    for on_gpu in (False, True):
        monkeypatch.setattr(gpu_search, "GPU", on_gpu)
        config = deepcopy(CONFIG)
        update_config(config, gpu_search.search_settings(splits, ["tensorrt"]))
        resolve_config(config, PROJECT / "config.schema.yaml")


def test_a_gpu_that_torch_cannot_use_is_told_at_once(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("torch can use it")
    monkeypatch.setattr(gpu, "has_gpu", lambda: True)
    with pytest.raises(SystemExit, match=r"has an NVIDIA GPU, but torch cannot use it: \w+Error: .*\n.*580 or newer"):
        gpu.device_name()


def test_a_graph_in_fp16_gives_nearly_the_same_logits(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_graphs, "LARGE", 100)
    draw = np.random.default_rng(0)
    weights = {"large": draw.standard_normal((16, 16)), "small": np.full(16, 0.1), "bound": np.array(-1e9)}
    nodes = [
        helper.make_node("MatMul", ["input_values", "large"], ["product"]),
        helper.make_node("Add", ["product", "small"], ["sum"]),
        helper.make_node("Max", ["sum", "bound"], ["bounded"]),  # as the exported attention has it
        helper.make_node("Softmax", ["bounded"], ["logits"]),
    ]
    types = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 16]) for n in ("input_values", "logits")]
    initializers = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()]
    graph = helper.make_graph(nodes, "graph", types[:1], types[1:], initializers)
    fp32, fp16 = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), fp32)
    gpu_graphs.write_fp16(fp32, fp16)
    assert {tensor.data_type for tensor in onnx.load(fp16).graph.initializer} == {TensorProto.FLOAT16}
    onnx.checker.check_model(fp16, full_check=True)  # as TensorRT, it refuses an operation of two types
    audio = draw.standard_normal((4, 16)).astype(np.float32)
    wanted, found = (InferenceSession(file).run(None, {"input_values": audio})[0] for file in (fp32, fp16))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 0.01


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
        {"part": "search", "case": "demo", "error": "not run"},
    ]
    shown = gpu.markdown(pd.DataFrame(gpu.table_of(rows, "NVIDIA (9.0)")))
    assert "1.25 times" in shown
    assert "<= 1.15 (no)" in shown
    assert shown.endswith("Could not run:\n- engine-int8: the plan was refused\n- search, demo: not run")
