"""Plans for an RTX GPU, built without one."""

from pathlib import Path

import numpy as np
import pytest

from stablequant.collection import collecting
from stablequant.engines import tensorrt_rtx
from stablequant.engines.folder import read_engine, write_engine
from stablequant.errors import StableQuantError
from stablequant.export import export_onnx
from stablequant.qdq import insert_qdq
from stablequant.ranges import full_range

SETTINGS = {"typical_samples": 16_000, "max_samples": 64_000, "max_batch": 2}


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
        tensorrt_rtx.build(graph, folder, ["8.6"], **SETTINGS)
        assert (folder / "model.plan").stat().st_size > 100_000
    assert (tmp_path / "int8/model.plan").read_bytes() != (tmp_path / "fp32/model.plan").read_bytes()


def test_an_unknown_gpu_is_refused_with_those_known(graphs, tmp_path):
    with pytest.raises(StableQuantError, match=r"compute_capabilities.*3\.5.*8\.6"):
        tensorrt_rtx.build(graphs["int8"], tmp_path, ["3.5"], **SETTINGS)


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(StableQuantError, match=r"bad\.onnx"):
        tensorrt_rtx.build(tmp_path / "bad.onnx", tmp_path, ["8.6"], **SETTINGS)


def test_an_engine_folder_appears_whole_or_not_at_all(tiny, tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_engine(tmp_path / "engine", tiny.folder, fail, {})
    assert list(tmp_path.iterdir()) == []
    size = write_engine(tmp_path / "engine", tiny.folder, lambda f: (f / "x").write_bytes(b"1234") and None, {"a": 1})
    assert size == 4
    assert read_engine(tmp_path / "engine") == {"a": 1, "size_bytes": 4}
    assert (tmp_path / "engine/vocab.json").is_file()
