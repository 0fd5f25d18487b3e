"""Plans for an RTX GPU, built without one."""

import ctypes
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from graphs import export, logits_of, quantize_graph, ranges_of_noise
from recognising import Loaded

from stablequant.engines import tensorrt, tensorrt_rtx
from stablequant.engines.backend import Request
from stablequant.engines.build_engine import Order, build_engine
from stablequant.engines.folder import read_engine, write_engine
from stablequant.engines.precision import precision_table
from stablequant.engines.running import load_engine, max_batch
from stablequant.errors import StableQuantError
from stablequant.quantization.int8 import Carried
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Limits
from stablequant.recognisers.registry import family_of

SETTINGS = {"compute_capabilities": ["8.6"], "max_samples": 64_000, "max_batch": 2, "timing_cache": ""}
LIMITS = {"samples": Limits(400, 16_000, 64_000)}


@pytest.fixture(scope="module")
def graphs(tiny, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    fp32 = export(tiny, folder / "fp32.onnx")
    scales = {name: np.linspace(0.5, 2, 16, dtype=np.float32) for name in ("cnn02", "cnn03")}
    ranges = ranges_of_noise(tiny, tiny.modules)
    for name in ("cnn03", "cnn05", "transformer01.qkv", "transformer02.fc2"):
        ranges[name] = replace(ranges[name], carried=Carried((1, 6), 10 * ranges[name].amax))
    int8 = quantize_graph(fp32, tiny.modules, ranges, scales, folder / "int8.onnx")
    return {"fp32": fp32, "int8": int8}


def plan_of(graph: Path, folder: Path, **changes) -> dict:
    """Build a plan into ``folder``; what engine.json is to say of it."""
    request = Request({GRAPH: graph}, {GRAPH: SIGNATURE}, LIMITS, SETTINGS | changes, all_int8=True)
    return tensorrt_rtx.BACKEND.build(request, folder)


def write_plan(loaded: Loaded, folder: Path, description: dict, plan: bytes = b"plan") -> Path:
    """An engine's folder whose plan is ``plan``."""

    def build(into: Path) -> dict:
        (into / "model.plan").write_bytes(plan)
        return description

    files = {name: loaded.folder / name for name in family_of(loaded.folder).files(loaded.folder)}
    write_engine(folder, files, build, lambda *_: precision_table(loaded.modules, [], {}))
    return folder


def test_a_plan_is_built_for_a_gpu_that_is_not_there(graphs, tmp_path):
    for name, graph in graphs.items():
        folder = tmp_path / name
        folder.mkdir()
        assert plan_of(graph, folder) == {
            "compute_capabilities": ["8.6"],
            "gpu": None,
            "profile": {"batch": [1, 1, 2], "samples": [400, 16_000, 64_000]},
        }
        assert (folder / "model.plan").stat().st_size > 100_000
    assert (tmp_path / "int8/model.plan").read_bytes() != (tmp_path / "fp32/model.plan").read_bytes()


def test_what_the_builder_made_of_the_graph_is_in_the_log(graphs, tmp_path, caplog):
    with caplog.at_level("INFO"):
        plan_of(graphs["int8"], tmp_path)
    assert sum(record.getMessage().startswith(tensorrt.BUILT) for record in caplog.records) == 1


def test_a_plan_takes_every_utterance_and_is_tuned_for_the_median(tiny):
    family = family_of(tiny.folder)
    assert family.limits(tiny.folder, [8_000, 90_000, 20_000], 64_000) == {"samples": Limits(400, 20_000, 90_000)}
    assert family.limits(tiny.folder, [8_000, 9_000], 64_000) == {"samples": Limits(400, 8_500, 64_000)}


def test_an_engine_says_which_utterances_it_takes(tiny, graphs, tmp_path):
    order = Order("tensorrt-rtx", "max", SETTINGS | {"max_batch": 4}, [8_000, 70_000, 20_000], [], longest=90_000)
    build_engine(order, graphs["int8"], tiny.folder, tiny.modules, tmp_path / "engine")
    description = read_engine(tmp_path / "engine")
    assert description["profile"] == {"batch": [1, 1, 4], "samples": [400, 20_000, 90_000]}
    assert max_batch(tmp_path / "engine") == 4


def test_an_unknown_gpu_is_refused_with_those_known(graphs, tmp_path):
    with pytest.raises(StableQuantError, match=r"compute_capabilities.*3\.5.*8\.6"):
        plan_of(graphs["int8"], tmp_path, compute_capabilities=["3.5"])


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(StableQuantError, match=r"bad\.onnx"):
        plan_of(tmp_path / "bad.onnx", tmp_path)


def test_an_engine_folder_appears_whole_or_not_at_all(tiny, tmp_path):
    def fail(folder: Path) -> dict:
        (folder / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_engine(tmp_path / "engine", {}, fail, lambda *_: precision_table(tiny.modules, [], {}))
    assert list(tmp_path.iterdir()) == []
    described = {"backend": "openvino"}
    write_plan(tiny, tmp_path / "engine", described, b"1234")
    assert read_engine(tmp_path / "engine") == described | {"size_bytes": 4}
    assert (tmp_path / "engine/vocab.json").is_file()


PLANNED = {
    "backend": "tensorrt-rtx",
    "compute_capabilities": ["8.6", "8.9"],
    "gpu": None,
    "version": "1.7.1.116",
    "profile": {"batch": [1, 1, 2], "samples": [400, 16_000, 64_000]},
}


@pytest.mark.parametrize(
    ("changes", "capability", "installed", "reason"),
    [
        ({}, None, "1.7.1.116", "no supported GPU"),
        ({}, "8.6", "1.7.1.116", None),
        ({}, "12.0", "1.7.1.116", "built for compute capability 8.6, 8.9, this GPU has 12.0"),
        ({}, "8.9", "1.8.0", "built by version 1.7.1.116, installed is 1.8.0"),
        ({"backend": "tensorrt", "gpu": "9.0"}, "9.0", "1.7.1.116", None),
        (
            {"backend": "tensorrt", "gpu": "9.0"},
            "8.6",
            "1.7.1.116",
            "built on a GPU of compute capability 9.0.* has 8.6",
        ),
    ],
)
def test_a_plan_runs_only_where_it_was_built_for(changes, capability, installed, reason):
    found = tensorrt.reason_plan_not_run(PLANNED | changes, capability, installed)
    assert found is None if reason is None else re.search(reason, found)


def test_a_plan_is_refused_in_one_sentence_where_it_cannot_run(tiny, tmp_path):
    if tensorrt.gpu_capability():
        pytest.skip("there is a GPU")
    write_plan(tiny, tmp_path / "engine", {**PLANNED, "version": tensorrt_rtx.BACKEND.version()})
    with pytest.raises(StableQuantError, match=r"engine: no supported GPU; build it on this machine"):
        load_engine(tmp_path / "engine", threads=1)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_a_missing_library_is_named_with_the_line_that_installs_it():
    with pytest.raises(StableQuantError, match=r"package tensorrt: .*; run: pip install tensorrt-cu13=="):
        tensorrt.library("tensorrt")


class Context:
    """Stands for TensorRT's: takes batches of at most two, and gives each frame of 320 samples their mean.

    It holds the shapes and addresses of one call, as TensorRT's does, so calls must not overlap.
    """

    runs = True
    fits = True  # into the GPU's memory
    pause = 0.0  # seconds of a call

    def __init__(self) -> None:
        self.called = Lock()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name != INPUT or shape[0] > 2:
            return False
        assert self.called.acquire(blocking=False), "two calls overlap"
        self.shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == OUTPUT
        return self.shape[0], self.shape[1] // 320, 1

    def set_tensor_address(self, name: str, address: int) -> None:
        kind = ctypes.POINTER(ctypes.c_float)
        shape = self.shape if name == INPUT else self.get_tensor_shape(name)
        setattr(self, name, np.ctypeslib.as_array(ctypes.cast(address, kind), shape))

    def execute_async_v3(self, _stream: int) -> bool:
        time.sleep(self.pause)
        self.logits[:] = self.input_values.reshape(*self.logits.shape[:2], 320).mean(axis=2, keepdims=True)
        self.called.release()
        return self.runs


@pytest.fixture
def plan(tiny, tmp_path, monkeypatch) -> tuple[Path, Context]:
    """A plan's folder on a machine that has its GPU, whose library and memory are stood for by the CPU's."""
    context = Context()
    engine = SimpleNamespace(create_execution_context=lambda: context if context.fits else None)
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine if content == b"plan" else None)
    stream = SimpleNamespace(wait_stream=lambda _: None, synchronize=lambda: None, cuda_stream=0)
    library = SimpleNamespace(Runtime=lambda _: runtime, __version__=PLANNED["version"])
    empty = torch.empty
    monkeypatch.setattr(tensorrt, "library", lambda _: library)
    monkeypatch.setattr(tensorrt, "_logger", lambda _: None)
    monkeypatch.setattr(tensorrt, "gpu_capability", lambda: "8.6")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: empty(*shape))
    return write_plan(tiny, tmp_path / "e", PLANNED), context


def test_a_plan_reads_and_writes_torchs_tensors(plan):
    folder, context = plan
    networks, arithmetic = load_engine(folder, threads=1)
    network = networks[GRAPH]
    audio = np.random.default_rng(0).standard_normal((2, 960)).astype(np.float32)
    assert arithmetic == "int8"
    found = logits_of(network, audio)
    np.testing.assert_allclose(found[..., 0], audio.reshape(2, 3, 320).mean(axis=2), rtol=1e-6)
    with pytest.raises(StableQuantError, match=r"does not accept input_values of shape \(3, 640\); raise 'max_"):
        logits_of(network, np.zeros((3, 640), dtype=np.float32))
    context.runs = False
    with pytest.raises(StableQuantError, match="the GPU could not run the plan"):
        logits_of(network, audio)


def test_one_plan_gives_every_thread_its_own_logits(plan):
    folder, context = plan
    network = load_engine(folder, threads=1).networks[GRAPH]
    context.pause = 0.002
    audio = [np.full((1, 320 * (2 + n % 3)), n, dtype=np.float32) for n in range(32)]
    with ThreadPoolExecutor(4) as callers:
        for samples, found in zip(audio, callers.map(lambda one: logits_of(network, one), audio), strict=True):
            np.testing.assert_array_equal(found, samples[:, ::320, None])


def test_a_plan_that_does_not_fit_into_the_gpu_is_refused(plan):
    folder, context = plan
    context.fits = False
    with pytest.raises(StableQuantError, match=r"model\.plan: does not fit into the GPU's memory"):
        load_engine(folder, threads=1)


def test_a_damaged_plan_is_refused(plan):
    folder, _ = plan
    (folder / "model.plan").write_bytes(b"plane")
    with pytest.raises(StableQuantError, match=r"model\.plan: damaged, or not a plan"):
        load_engine(folder, threads=1)
