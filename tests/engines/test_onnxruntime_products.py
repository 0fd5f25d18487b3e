"""ONNX Runtime's form of a quantized graph: what it computes, and that its products run in INT8."""

import numpy as np
import onnx
import pytest
import torch
from graphs import build, export, logits_of, onnx_network, quantize_graph, ranges_of_noise, relative_rms

from stablequant.engines import onnxruntime
from stablequant.engines.onnxruntime_products import prepare_products
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.quantization.int8 import Carried, Range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights

CARRIED = "cnn03"  # its convolution has further products, and stays as it is


@pytest.fixture(scope="module")
def ranges(tiny) -> dict[str, Range]:
    """The audio is read as two numbers, and some channels are carried."""
    found = ranges_of_noise(tiny, tiny.modules)
    assert found["cnn01"].split
    carried = Carried((1, 3), found[CARRIED].amax)
    return found | {CARRIED: Range.symmetric(found[CARRIED].amax / 2, carried=carried)}


@pytest.fixture(scope="module")
def graph(tiny, ranges, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    return quantize_graph(export(tiny, folder / "fp32.onnx"), tiny.modules, ranges, {}, folder / "int8.onnx")


def test_all_products_of_matrices_run_in_int8(tiny, graph, tmp_path, monkeypatch):
    """Queries, keys and values among them, which read one tensor."""
    monkeypatch.setattr(onnxruntime, "int8_kernels_are_exact", lambda: True)
    folder = build(tiny, graph, tmp_path / "engine", "onnxruntime")
    found = onnxruntime.BACKEND.precisions(folder, {}, tiny.modules)
    floating = {m.module for m in tiny.modules if m.kind in ("cnn", "positional")}
    assert found == {m.module: FLOAT32 if m.module in floating else INT8 for m in tiny.modules}


def test_only_convolutions_compute_otherwise_with_the_same_weights(tiny, graph, ranges, tmp_path):
    """What is left of INT8 is what the search simulates."""
    model = onnx.load(graph)
    prepare_products(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "prepared.onnx")
    audio = np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32)
    found = logits_of(onnx_network(tmp_path / "prepared.onnx"), audio)

    weights = fake_quantized_weights(tiny.model, tiny.modules, {})
    plain = {m.module for m in tiny.modules if m.kind in ("cnn", "positional") and m.layer != CARRIED}
    inside = [m for m in tiny.modules if m.module not in plain]
    kept = {name: tiny.model.get_submodule(name).weight.data for name in plain}
    try:
        for name in plain:
            tiny.model.get_submodule(name).weight.data = weights[name]
        with fake_quantized(tiny.model, inside, ranges, {}, weights), torch.inference_mode():
            expected = tiny.model(torch.from_numpy(audio)).logits.numpy()
    finally:
        for name, weight in kept.items():
            tiny.model.get_submodule(name).weight.data = weight
    assert relative_rms(found, expected) < 1e-4
    assert relative_rms(logits_of(onnx_network(graph), audio), expected) > 1e-2, "nothing is different"
    assert (tmp_path / "prepared.onnx").stat().st_size < 1.2 * graph.stat().st_size, "weights are stored twice"


def test_a_graph_with_other_graphs_inside_stays_as_it_is(graph):
    """What these read is not seen."""
    model = onnx.load(graph)
    inner = onnx.helper.make_graph([], "inner", [], [])
    model.graph.node.add().CopyFrom(onnx.helper.make_node("If", ["condition"], ["unread"], then_branch=inner))
    before = model.SerializeToString(deterministic=True)
    prepare_products(model.graph)
    assert model.SerializeToString(deterministic=True) == before


def test_floating_point_graphs_are_copied_as_they_are(tiny, graph, tmp_path):
    folder = build(
        tiny, graph.with_name("fp32.onnx"), tmp_path / "engine", "onnxruntime", {m.layer for m in tiny.modules}
    )
    assert (folder / "model.onnx").read_bytes() == graph.with_name("fp32.onnx").read_bytes()
