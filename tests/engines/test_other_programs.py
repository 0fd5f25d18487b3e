"""A graph in programs that know nothing of StableQuant."""

import json
import tomllib
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
from checkout import PROJECT
from graphs import export, quantize_graph, ranges_of_noise

from stablequant.engines.openvino import convert
from stablequant.recognisers.ctc.decoding import INPUT, OUTPUT

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_LAYOUT", "ORT_ENABLE_ALL")
AUDIO = np.random.default_rng(0).standard_normal((1, 16_000)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(tiny, tmp_path_factory) -> Path:
    """Of the tiny recogniser in INT8, with a split range."""
    folder = tmp_path_factory.mktemp("graph")
    ranges = ranges_of_noise(tiny, tiny.modules)
    assert any(chosen.split for chosen in ranges.values())
    return quantize_graph(export(tiny, folder / "fp32.onnx"), tiny.modules, ranges, {}, folder / "int8.onnx")


def test_onnx_runtime_loads_the_graph_in_every_mode(graph):
    found = []
    for level, precise in product(LEVELS, ("0", "1")):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.add_session_config_entry("session.x64quantprecision", precise)
        found.append(onnxruntime.InferenceSession(graph, options).run(None, {INPUT: AUDIO})[0])
    spread = np.abs(found[0]).max()
    assert all(np.abs(logits - found[0]).max() < 0.02 * spread for logits in found)


@pytest.mark.parametrize("name", ["fp32", "int8"])
@pytest.mark.parametrize("converted", [False, True])
def test_plain_openvino_is_right_after_a_first_recording_of_a_single_frame(graph, tmp_path, name, converted):
    file = graph.with_name(f"{name}.onnx")
    if converted:
        convert(file, tmp_path / "network.xml")
        file = tmp_path / "network.xml"
    network = ov.Core().read_model(file)
    fresh, used = (ov.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for _ in range(2))
    for rows, samples in ((1, 400), (2, 719), (1, 400)):
        used(np.zeros((rows, samples), dtype=np.float32))
    expected = fresh(AUDIO)[0].copy()
    assert np.array_equal(used(AUDIO)[0], expected)


def test_names_and_metadata_can_be_read(graph, tiny):
    for name in ("fp32", "int8"):
        model = onnx.load(graph.with_name(f"{name}.onnx"))
        (taken,), (given,) = model.graph.input, model.graph.output
        axes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (taken, given)}
        assert axes == {INPUT: ["batch", "samples"], OUTPUT: ["batch", "frames", 32]}
        told = {entry.key: entry.value for entry in model.metadata_props}
        assert (told["sample_rate"], told["do_normalize"], told["blank"]) == ("16000", "true", "0")
        assert told["variance_epsilon"] == "1e-07"
        assert json.loads(told["vocabulary"]) == tiny.front_end.vocabulary.tokens
        assert json.loads(told["word_delimiter"]) == "|"
        versions = json.loads(told["versions"])
        assert versions.keys() == {"stablequant", "torch", "transformers"}
        declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
        assert versions["stablequant"] == f"{declared} (a clone)"
