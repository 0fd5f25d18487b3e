"""Plans for an RTX GPU, built without one."""

import ctypes
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stablequant.engines import tensorrt
from stablequant.engines.folder import read_engine, write_engine
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.engines.running import load_engine
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import collecting
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.ctc.export_onnx import export_onnx

PROFILE = tensorrt.Profile(shortest=400, typical=16_000, longest=64_000, max_batch=2)


@pytest.fixture(scope="module")
def graphs(tiny, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(tiny.model, tiny.modules, folder / "fp32.onnx")
    with collecting(tiny.model, tiny.modules, recentre=True, split_audio=True) as collectors, torch.inference_mode():
        tiny.model(torch.randn(2, 16_000))
    ranges = {name: full_range(h) for name, h in collectors.histograms().items()}
    scales = {name: np.linspace(0.5, 2, 16, dtype=np.float32) for name in ("cnn02", "cnn03")}
    insert_qdq(folder / "fp32.onnx", tiny.modules, ranges, scales, folder / "int8.onnx")
    return {"fp32": folder / "fp32.onnx", "int8": folder / "int8.onnx"}


def test_a_plan_is_built_for_a_gpu_that_is_not_there(graphs, tmp_path):
    for name, graph in graphs.items():
        folder = tmp_path / name
        folder.mkdir()
        tensorrt.build("tensorrt-rtx", graph, folder, ["8.6"], PROFILE)
        assert (folder / "model.plan").stat().st_size > 100_000
    assert (tmp_path / "int8/model.plan").read_bytes() != (tmp_path / "fp32/model.plan").read_bytes()


def test_what_the_builder_made_of_the_graph_is_in_the_log(graphs, tmp_path, caplog):
    with caplog.at_level("INFO"):
        tensorrt.build("tensorrt-rtx", graphs["int8"], tmp_path, ["8.6"], PROFILE)
    assert sum(record.getMessage().startswith(tensorrt.BUILT) for record in caplog.records) == 1


def test_a_plan_takes_every_utterance_and_is_tuned_for_the_median():
    profile = tensorrt.Profile.of([8_000, 90_000, 20_000], max_samples=64_000, max_batch=4)
    assert profile == tensorrt.Profile(shortest=400, typical=20_000, longest=90_000, max_batch=4)
    assert tensorrt.Profile.of([8_000, 9_000], 64_000, 4) == tensorrt.Profile(400, 8_500, 64_000, 4)


def test_an_unknown_gpu_is_refused_with_those_known(graphs, tmp_path):
    with pytest.raises(StableQuantError, match=r"compute_capabilities.*3\.5.*8\.6"):
        tensorrt.build("tensorrt-rtx", graphs["int8"], tmp_path, ["3.5"], PROFILE)


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(StableQuantError, match=r"bad\.onnx"):
        tensorrt.build("tensorrt-rtx", tmp_path / "bad.onnx", tmp_path, ["8.6"], PROFILE)


def test_an_engine_folder_appears_whole_or_not_at_all(tiny, tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_engine(tmp_path / "engine", tiny.folder, fail, {})
    assert list(tmp_path.iterdir()) == []
    told = {"backend": "openvino"}
    size = write_engine(tmp_path / "engine", tiny.folder, lambda f: (f / "x").write_bytes(b"1234") and None, told)
    assert size == 4
    assert read_engine(tmp_path / "engine") == told | {"size_bytes": 4}
    assert (tmp_path / "engine/vocab.json").is_file()


PLANNED = {
    "backend": "tensorrt-rtx",
    "compute_capabilities": ["8.6", "8.9"],
    "gpu": None,
    "version": "1.7.1.116",
    "profile": vars(PROFILE),
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
    found = tensorrt.why_not_run(PLANNED | changes, capability, installed)
    assert found is None if reason is None else re.search(reason, found)


def test_a_plan_is_refused_in_one_sentence_where_it_cannot_run(tiny, tmp_path):
    if tensorrt.gpu_capability():
        pytest.skip("there is a GPU")
    version = tensorrt.version("tensorrt-rtx")
    write_engine(
        tmp_path / "engine",
        tiny.folder,
        lambda into: (into / tensorrt.PLAN).write_bytes(b"plan") and None,
        {**PLANNED, "version": version},
    )
    with pytest.raises(StableQuantError, match=r"model\.plan: no supported GPU; build it on this machine"):
        load_engine(tmp_path / "engine", threads=1)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_a_missing_library_is_named_with_the_line_that_installs_it():
    with pytest.raises(StableQuantError, match=r"package tensorrt: .*; run: pip install tensorrt=="):
        tensorrt.library("tensorrt")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_engines_missing_package_is_named(tiny, tmp_path, backend):
    write_engine(tmp_path / "engine", tiny.folder, lambda _: None, {"backend": backend})
    code = (
        f"import sys; sys.modules['{backend}'] = None\n"
        "from pathlib import Path\nfrom stablequant.engines.running import load_engine\n"
        "load_engine(Path(sys.argv[1]), 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "engine"], capture_output=True, text=True, check=False
    )
    assert f"engine: {backend}'s engine needs the package {backend} " in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].endswith(f"run: pip install {backend}")


def test_an_engine_of_an_unknown_kind_is_refused(tiny, tmp_path):
    write_engine(tmp_path / "engine", tiny.folder, lambda _: None, {"backend": "abacus"})
    with pytest.raises(StableQuantError, match="an engine of 'abacus'"):
        load_engine(tmp_path / "engine", threads=1)


class Context:
    """Stands for TensorRT's: takes batches of at most two, and gives each frame of 320 samples their mean."""

    runs = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return name == tensorrt.INPUT and shape[0] <= 2

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == tensorrt.OUTPUT
        return self.shape[0], self.shape[1] // 320, 1

    def set_tensor_address(self, name: str, address: int) -> None:
        kind = ctypes.POINTER(ctypes.c_float)
        shape = self.shape if name == tensorrt.INPUT else self.get_tensor_shape(name)
        setattr(self, name, np.ctypeslib.as_array(ctypes.cast(address, kind), shape))

    def execute_async_v3(self, _stream: int) -> bool:
        self.logits[:] = self.input_values.reshape(*self.logits.shape[:2], 320).mean(axis=2, keepdims=True)
        return self.runs


@pytest.fixture
def plan(tiny, tmp_path, monkeypatch) -> tuple[Path, Context]:
    """A plan's folder on a machine that has its GPU, whose library and memory are stood for by the CPU's."""
    context = Context()
    engine = SimpleNamespace(create_execution_context=lambda: context)
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
    write_engine(
        tmp_path / "e", tiny.folder, lambda into: (into / tensorrt.PLAN).write_bytes(b"plan") and None, PLANNED
    )
    return tmp_path / "e", context


def test_a_plan_reads_and_writes_torchs_tensors(plan):
    folder, context = plan
    infer, arithmetic = load_engine(folder, threads=1)
    audio = np.random.default_rng(0).standard_normal((2, 960)).astype(np.float32)
    assert arithmetic == "int8"
    np.testing.assert_allclose(infer(audio)[..., 0], audio.reshape(2, 3, 320).mean(axis=2), rtol=1e-6)
    with pytest.raises(StableQuantError, match="takes no batch of 3 utterances of 640 samples; raise 'max_samples'"):
        infer(np.zeros((3, 640), dtype=np.float32))
    context.runs = False
    with pytest.raises(StableQuantError, match="the GPU could not run it"):
        infer(audio)


def test_a_damaged_plan_is_refused(plan):
    folder, _ = plan
    (folder / tensorrt.PLAN).write_bytes(b"plane")
    with pytest.raises(StableQuantError, match=r"model\.plan: damaged, or not a plan"):
        load_engine(folder, threads=1)
