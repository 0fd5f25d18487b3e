"""A decoder of two graphs as one network with a memory, and as plans for a GPU that is not there."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from openvino import Core
from whisper_files import SECONDS, import_tiny_whisper

from stablequant.engines import onnxruntime, openvino, openvino_memory, tensorrt_rtx
from stablequant.engines.backend import Request
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.engines.openvino_requests import Requests
from stablequant.quantization.int8 import Range
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.layers import quantized_modules, read_sizes
from stablequant.storage.files import graph_files

RATE = 16_000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    imported = import_tiny_whisper(folder)
    export_onnx(imported, folder / "fp32.onnx", threads=1)
    return imported


def request(checkpoint: Path, graphs: Mapping[str, Path], **settings) -> Request:
    family = family_of(checkpoint)
    limits = family.limits(checkpoint, [RATE], RATE)
    return Request(graphs, family.signatures(checkpoint), limits, settings, all_int8=False)


def graphs_of(checkpoint: Path, stem: str) -> dict[str, Path]:
    names = list(family_of(checkpoint).signatures(checkpoint))
    return graph_files(checkpoint.parent / f"{stem}.onnx", names)


@pytest.fixture(scope="module")
def networks(checkpoint, tmp_path_factory) -> dict[str, Mapping[str, Network]]:
    """The networks of both backends for the CPU."""
    signatures, found = family_of(checkpoint).signatures(checkpoint), {}
    for name, backend in (("openvino", openvino.BACKEND), ("onnxruntime", onnxruntime.BACKEND)):
        folder = tmp_path_factory.mktemp(name)
        description = backend.build(request(checkpoint, graphs_of(checkpoint, "fp32")), folder)
        found[name] = backend.load(folder, description, signatures, 1).networks
    assert {file.name for file in (checkpoint.parent.parent).glob("openvino*/*.bin")} == {"encoder.bin", "decoder.bin"}
    return found


def encoded(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, SECONDS * 50, 32)).astype(np.float32)


def steps(networks: Mapping[str, Network], states: np.ndarray, kept: list[list[int]]) -> list[np.ndarray]:
    """Logits of a prompt and of a token after each selection of rows in ``kept``, each of the rows that were left."""
    prompt = np.tile(np.array([[1, 2, 3]]), (len(states), 1))
    found = networks["decoder"]({"input_ids": prompt, "encoder_hidden_states": states})
    crossed = {name: values for name, values in found.items() if ".encoder." in name}
    logits = [found["logits"]]
    for number, rows in enumerate(kept):
        own = {name: values[rows] for name, values in found.items() if ".decoder." in name}
        crossed = {name: values[rows] for name, values in crossed.items()}
        past = {name.replace("present", "past_key_values"): values for name, values in (own | crossed).items()}
        found = networks["decoder_with_past"]({"input_ids": np.array([[number + 7]] * len(rows)), **past})
        logits.append(found["logits"])
    return logits


def test_steps_are_those_of_the_graphs_however_rows_leave(networks):
    """The same infer request serves batches of several sizes, one after the other."""
    for rows, kept in ((6, [[0, 1, 2, 3, 4, 5], [2, 3, 4], [0, 1, 2], [1]]), (6, [[5, 0]]), (1, [[0], [0]]), (3, [])):
        states = encoded(rows, seed=rows + len(kept))
        expected = steps(networks["onnxruntime"], states, kept)
        for found, wanted in zip(steps(networks["openvino"], states, kept), expected, strict=True):
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() < 1e-4


def test_keys_and_values_that_grow_are_appended_in_place_and_not_rounded(checkpoint, tmp_path):
    openvino.BACKEND.build(request(checkpoint, graphs_of(checkpoint, "fp32")), tmp_path)
    model = Core().read_model(tmp_path / "decoder.xml")
    assert model.get_rt_info(["runtime_options", "KV_CACHE_PRECISION"]).value == "f16"
    compiled, _ = openvino.compile_network(model, threads=1)
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()]
    assert kinds.count("ScaledDotProductAttention") == read_sizes(checkpoint)["decoder_layers"]
    assert "Concat" not in kinds
    assert compiled.get_property("KV_CACHE_PRECISION").to_string() == "f32"


def test_threads_do_not_share_a_memory(networks):
    batches = [encoded(rows=2, seed=seed) for seed in range(12)]
    kept = [[0, 1], [1], [0]]
    expected = [steps(networks["onnxruntime"], states, kept) for states in batches]
    with ThreadPoolExecutor(4) as callers:
        found = list(callers.map(lambda states: steps(networks["openvino"], states, kept), batches))
    for one, other in zip(found, expected, strict=True):
        for logits, wanted in zip(one, other, strict=True):
            assert np.abs(logits - wanted).max() < 1e-4


def test_a_step_cannot_be_continued_twice(networks):
    found = networks["openvino"]["decoder"]({"input_ids": np.array([[1, 2]]), "encoder_hidden_states": encoded(rows=1)})
    past = {name.replace("present", "past_key_values"): v for name, v in found.items() if name != "logits"}
    networks["openvino"]["decoder_with_past"]({"input_ids": np.array([[3]]), **past})
    with pytest.raises(ValueError, match="were continued before"):
        networks["openvino"]["decoder_with_past"]({"input_ids": np.array([[3]]), **past})


def test_a_request_that_failed_serves_nobody_else(checkpoint, tmp_path, monkeypatch):
    given = []

    class Watched(Requests):
        def give_back(self, request) -> None:
            given.append(request)
            super().give_back(request)

    monkeypatch.setattr(openvino_memory, "Requests", Watched)
    description = openvino.BACKEND.build(request(checkpoint, graphs_of(checkpoint, "fp32")), tmp_path)
    networks = openvino.BACKEND.load(tmp_path, description, family_of(checkpoint).signatures(checkpoint), 1).networks
    expected = steps(networks, encoded(2), [[0, 1]])
    served = len(given)
    found = networks["decoder"]({"input_ids": np.array([[1, 2]]), "encoder_hidden_states": encoded(rows=1)})
    past = {name.replace("present", "past_key_values"): v for name, v in found.items() if name != "logits"}
    with monkeypatch.context() as fault:
        fault.setattr(openvino_memory._Run, "step", lambda *_: [].pop())
        with pytest.raises(IndexError):
            networks["decoder_with_past"]({"input_ids": np.array([[3]]), **past})
    del found, past
    assert len(given) == served
    for one, other in zip(steps(networks, encoded(2), [[0, 1]]), expected, strict=True):
        assert np.array_equal(one, other)
    assert len(given) == served + 1, "what succeeded is given back"


@pytest.fixture(scope="module")
def int8_graphs(checkpoint) -> dict[str, Path]:
    modules = quantized_modules(read_sizes(checkpoint))
    names = {name for module in modules for name in (module.activation, module.output_activation)} - {""}
    ranges = {name: Range.symmetric(4) for name in names}
    graphs = graphs_of(checkpoint, "int8")
    insert_qdq(graphs_of(checkpoint, "fp32"), modules, ranges, {}, graphs)
    return graphs


def test_the_precision_of_products_that_fill_the_memory_is_known(checkpoint, int8_graphs, tmp_path):
    modules = quantized_modules(read_sizes(checkpoint))
    description = openvino.BACKEND.build(request(checkpoint, int8_graphs, floating="float32"), tmp_path)
    found = openvino.BACKEND.precisions(tmp_path, description, modules)
    crossed = [m.module for m in modules if m.module.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))]
    assert crossed
    assert {found[module] for module in crossed} == {"int8"}


@pytest.mark.parametrize("form", ["scaled", "alike", "centred"])
def test_what_fills_the_memory_is_quantized_once(checkpoint, tmp_path, monkeypatch, form):
    """Not again for each token; and the logits are exactly those of a network that does it for each."""
    modules = quantized_modules(read_sizes(checkpoint))
    low = -3.9 if form == "centred" else -4.0
    ranges = {name: Range.symmetric(4) for name in {m.activation for m in modules}}
    scales = {}
    for layer, name in enumerate(sorted(name for name in ranges if name.endswith(".cross_kv"))):
        number = 0 if form == "alike" else layer
        ranges[name] = Range(low - number / 8, 4 + number / 8)
        scales[name] = np.random.default_rng(number).uniform(0.5, 2, 32).astype(np.float32)
    graphs = {name: tmp_path / f"{name}.onnx" for name in graphs_of(checkpoint, "fp32")}
    insert_qdq(graphs_of(checkpoint, "fp32"), modules, ranges, scales, graphs)
    found = {}
    for name, change in (("once", openvino.quantize_once), ("each time", lambda model: None)):
        monkeypatch.setattr(openvino, "quantize_once", change)
        folder = tmp_path / name
        folder.mkdir()
        description = openvino.BACKEND.build(request(checkpoint, graphs, floating="float32"), folder)
        networks = openvino.BACKEND.load(folder, description, family_of(checkpoint).signatures(checkpoint), 1).networks
        readers = readers_of(folder / "decoder.xml", "encoder_hidden_states")
        found[name] = readers, steps(networks, encoded(2), [[0, 1], [1], [0]])
    assert found["once"][0] == {"MemoryInput"}
    assert "MemoryInput" not in found["each time"][0]
    for once, each in zip(found["once"][1], found["each time"][1], strict=True):
        assert np.array_equal(once, each)


def readers_of(network: Path, name: str) -> set[str]:
    """Kinds of the compiled nodes that read the input ``name``."""
    compiled, _ = openvino.compile_network(Core().read_model(network), threads=1)
    model = compiled.get_runtime_model()
    inputs = [node for node in model.get_ops() if node.get_friendly_name() == name]
    readers = [place.get_node() for node in inputs for place in node.output(0).get_target_inputs()]
    return {node.get_rt_info()["layerType"].astype(str) for node in readers}


def test_plans_of_all_graphs_are_built_for_a_gpu_that_is_not_there(checkpoint, int8_graphs, tmp_path):
    settings = {"compute_capabilities": ["8.6"], "max_samples": RATE, "max_batch": 2, "timing_cache": ""}
    tensorrt_rtx.BACKEND.build(request(checkpoint, int8_graphs, **settings), tmp_path)
    assert {plan.name for plan in tmp_path.glob("*.plan")} == {f"{name}.plan" for name in int8_graphs}
