"""Queries times keys in INT8: what engines compute is what the search simulates, on a tiny Whisper."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import onnx_network, relative_rms
from openvino import Core
from safetensors.numpy import load_file, save_file
from whisper_files import SECONDS, import_tiny_whisper, tones

from stablequant.engines import openvino
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.engines.onnxruntime_products import prepare_products
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import State
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.forward import WhisperRecogniser

CARRIED = {"encoder01.qkv": (3, 17)}  # more products behind the projections, so that sums stand before their outputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    checkpoint = import_tiny_whisper(folder)
    weights = load_file(checkpoint / "model.safetensors")
    for name in weights:
        if ".encoder." in name and name.endswith(("q_proj.weight", "k_proj.weight")):
            weights[name] *= 40  # so that the scores tell frames apart
    save_file(weights, checkpoint / "model.safetensors")
    export_onnx(checkpoint, folder / "fp32.onnx", threads=1)
    return checkpoint


@pytest.fixture(scope="module")
def recogniser(checkpoint) -> WhisperRecogniser:
    return load_recogniser(checkpoint, threads=1)


@pytest.fixture(scope="module")
def features(recogniser) -> np.ndarray:
    return np.stack([recogniser.front_end.features(tones(SECONDS, seed)) for seed in range(3)])


def encoded(recogniser: WhisperRecogniser, features: np.ndarray) -> np.ndarray:
    state: State = recogniser.enter({"hidden": features})
    context = recogniser.context([SECONDS * 16_000] * len(features))
    hidden = recogniser.run(state, 0, recogniser.resumable, context)["hidden"]
    with torch.inference_mode():
        return recogniser.model.model.encoder.layer_norm(hidden).numpy()


@pytest.fixture(scope="module")
def modules(recogniser) -> list[QuantizedModule]:
    return [m for m in recogniser.modules if m.kind in ("conv", "encoder")]


@pytest.fixture(scope="module")
def ranges(recogniser, modules, features) -> Mapping[str, Range]:
    outputs = [m.output_activation for m in modules if m.output_activation]
    assert sorted(outputs) == ["encoder01.keys", "encoder01.queries", "encoder02.keys", "encoder02.queries"]
    with collecting(recogniser.model, modules, Preparation({}, True, False, CARRIED, outputs)) as collectors:
        encoded(recogniser, features)
    histograms = collectors.histograms()
    assert histograms.keys() == {*outputs, *(m.activation for m in modules)}
    return {name: mse_range(histogram) for name, histogram in histograms.items()}


def without_outputs(ranges: Mapping[str, Range]) -> dict[str, Range]:
    return {name: chosen for name, chosen in ranges.items() if not name.endswith(("queries", "keys"))}


def test_engines_compute_what_is_simulated(recogniser, checkpoint, modules, ranges, features, tmp_path):
    weights = fake_quantized_weights(recogniser.model, modules, {})
    found = {}
    for name, chosen in (("with", ranges), ("without", without_outputs(ranges))):
        with fake_quantized(recogniser.model, modules, chosen, {}, weights):
            found[name] = encoded(recogniser, features)
    graph = tmp_path / "int8.onnx"
    insert_qdq({"encoder": checkpoint.parent / "fp32.onnx"}, modules, ranges, {}, {"encoder": graph})
    effect = relative_rms(found["without"], found["with"])
    computed = onnx_network(graph, output="last_hidden_state")({"input_features": features})["last_hidden_state"]
    assert relative_rms(computed, found["with"]) < 0.1 * effect
    openvino.convert(graph, tmp_path / "encoder.xml")
    network, arithmetic = openvino.load_network(
        tmp_path / "encoder.xml", family_of(checkpoint).signatures(checkpoint)["encoder"], 1
    )
    assert relative_rms(network({"input_features": features})["last_hidden_state"], found["with"]) < 0.3 * effect
    assert arithmetic == "int8"
    compiled, _ = openvino.compile_network(Core().read_model(tmp_path / "encoder.xml"), threads=1)
    told = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kernels = [t["primitiveType"].astype(str) for t in told if t["layerType"].astype(str) == "Subgraph"]
    assert [kernel.endswith("_i8") for kernel in kernels] == [True, True], "attention reads floating point"


def test_onnx_runtime_multiplies_them_in_floating_point_and_does_not_round_them(
    recogniser, checkpoint, modules, ranges, features, tmp_path
):
    """It has no INT8 kernel for such a product. The bundle's graph, which other programs read, always loads."""
    graph = tmp_path / "int8.onnx"
    insert_qdq({"encoder": checkpoint.parent / "fp32.onnx"}, modules, ranges, {}, {"encoder": graph})
    expected = onnx_network(graph, output="last_hidden_state")({"input_features": features})["last_hidden_state"]
    for level in ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        (found,) = onnxruntime.InferenceSession(graph, options).run(None, {"input_features": features})
        assert relative_rms(found, expected) < 0.02, level
    model = onnx.load(graph)
    prepare_products(model.graph)
    onnx.save(model, tmp_path / "prepared.onnx")
    quantizers = {node.name for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert not [name for name in quantizers if "queries" in name or "keys" in name]
    convolutions = [m for m in modules if m.kind == "conv"]
    inside = [m for m in modules if m.kind != "conv"]
    weights = fake_quantized_weights(recogniser.model, modules, {})
    with ExitStack() as undo:
        for module in convolutions:
            operation = recogniser.model.get_submodule(module.module)
            undo.callback(setattr, operation.weight, "data", operation.weight.data)
            operation.weight.data = weights[module.module]
        undo.enter_context(fake_quantized(recogniser.model, inside, without_outputs(ranges), {}, weights))
        simulated = encoded(recogniser, features)
    network = onnx_network(tmp_path / "prepared.onnx", output="last_hidden_state")
    assert relative_rms(network({"input_features": features})["last_hidden_state"], simulated) < 1e-4


def test_nothing_stays_behind(recogniser, modules, ranges, features):
    before = encoded(recogniser, features)
    with fake_quantized(recogniser.model, modules, ranges, {}, fake_quantized_weights(recogniser.model, modules, {})):
        assert not np.array_equal(encoded(recogniser, features), before)
    assert np.array_equal(encoded(recogniser, features), before)
