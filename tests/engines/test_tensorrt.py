"""Plans for an RTX GPU, built without one."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from stablequant.collection import collecting
from stablequant.engines import tensorrt
from stablequant.engines.folder import read_engine, write_engine
from stablequant.engines.running import load_engine
from stablequant.errors import StableQuantError
from stablequant.export import export_onnx
from stablequant.qdq import insert_qdq
from stablequant.ranges import full_range

PROFILE = tensorrt.Profile(shortest=400, typical=16_000, longest=64_000, max_batch=2)


@pytest.fixture(scope="module")
def graphs(tiny, tmp_path_factory) -> dict[str, Path]:
    import torch

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


PLANNED = {"backend": "tensorrt-rtx", "compute_capabilities": ["8.6", "8.9"], "gpu": None, "version": "1.7.1.116"}


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
