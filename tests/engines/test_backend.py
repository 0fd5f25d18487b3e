"""What all backends have in common: one interface, and clear refusals."""

import inspect
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from graphs import build, export, logits_of, quantize_graph, ranges_of_noise
from json_files import edit
from onnx import TensorProto, helper
from openvino import opset13 as ops
from recognising import Loaded

from stablequant.engines import onnxruntime, openvino
from stablequant.engines.backend import BACKENDS, Backend, backend_named
from stablequant.engines.build_engine import Order, build_engine
from stablequant.engines.folder import PRECISION, read_engine
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.engines.running import Stopwatch, load_engine, longest_input, max_batch, reason_not_run
from stablequant.engines.tensors import check_tensors
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Signature, Tensor
from stablequant.storage.files import read_table

METHODS = [name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")]
ON_CPU = [name for name, known in BACKENDS.items() if not known.gpu_runs]


@pytest.fixture(scope="module")
def graph(tiny, tmp_path_factory) -> Path:
    """Of the tiny recogniser in INT8."""
    folder = tmp_path_factory.mktemp("graph")
    fp32 = export(tiny, folder / "fp32.onnx")
    return quantize_graph(fp32, tiny.modules, ranges_of_noise(tiny, tiny.modules), {}, folder / "int8.onnx")


@pytest.fixture(scope="module", params=ON_CPU)
def engine(request, tiny, graph) -> Path:
    return build(tiny, graph, graph.parent / request.param, request.param)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_has_the_whole_interface(name):
    backend = backend_named(name, "test")
    assert sorted(["build", "check", "load", "max_batch", "precisions", "reason_not_run", "version"]) == METHODS
    for method in METHODS:
        asked = inspect.signature(getattr(Backend, method)).parameters
        offered = inspect.signature(getattr(backend, method)).parameters
        assert list(offered) == list(asked)[1:], f"{method} takes other arguments"  # without self


def test_every_cpu_engine_answers_what_it_is_asked(tiny, engine):
    name = engine.name
    description, backend = read_engine(engine), backend_named(engine.name, engine)
    assert (description["backend"], description["method"], description["float_layers"]) == (name, "int8", 0)
    assert description["version"] == backend.version()
    assert description["size_bytes"] > 0
    assert backend.check(description)
    assert backend.reason_not_run(description) is None
    assert reason_not_run(engine) is None
    assert max_batch(engine) == backend.max_batch(description) == math.inf
    runs = backend.precisions(engine, description, tiny.modules)
    assert runs.keys() == {m.module for m in tiny.modules}
    assert set(runs.values()) <= {INT8, FLOAT32}
    table = read_table(engine / PRECISION)
    assert dict(zip(table["module"], table["runs"], strict=True)) == runs
    assert set(table["requested"]) == {INT8}


def test_what_an_engine_gives_is_the_callers_own(engine):
    networks, _ = load_engine(engine, threads=1)
    noise = np.random.default_rng(0).normal(size=(2, 1, 16_000)).astype(np.float32)
    first = logits_of(networks[GRAPH], noise[0])
    kept = first.copy()
    assert not np.array_equal(logits_of(networks[GRAPH], noise[1]), kept)
    assert np.array_equal(first, kept)
    first[:] = 0
    assert np.array_equal(logits_of(networks[GRAPH], noise[0]), kept)


def test_every_cpu_engine_recognises(engine):
    networks, arithmetic = load_engine(engine, threads=1)
    clock = Stopwatch()
    (network,) = clock.timing(networks).values()
    assert networks.keys() == {GRAPH}
    assert arithmetic in (INT8, FLOAT32)
    found = logits_of(network, np.random.default_rng(0).standard_normal((3, 16_000), dtype=np.float32))
    assert found.shape == (3, 49, 32)
    assert np.isfinite(found).all()
    assert clock.seconds > 0


def test_a_tuned_backend_that_needs_a_gpu_to_run_says_so(tiny, graph, tmp_path):
    backend = backend_named("tensorrt-rtx", "test")
    settings = {"compute_capabilities": ["8.6"], "max_samples": 64_000, "max_batch": 2, "timing_cache": ""}
    order = Order("tensorrt-rtx", "int8", settings, [16_000], [])
    assert build_engine(order, graph, tiny.folder, tiny.modules, tmp_path / "engine") > 100_000
    description = read_engine(tmp_path / "engine")
    assert backend.check(description)
    assert backend.max_batch(description) == max_batch(tmp_path / "engine") == 2
    assert backend.precisions(tmp_path / "engine", description, tiny.modules) == {}
    assert read_table(tmp_path / "engine" / PRECISION)["runs"].isna().all()
    if backend.reason_not_run(description):
        with pytest.raises(StableQuantError, match=str(reason_not_run(tmp_path / "engine"))):
            load_engine(tmp_path / "engine", threads=1)


def test_an_unknown_backend_is_refused_with_those_known(tiny, graph, engine, tmp_path):
    with pytest.raises(StableQuantError, match=r"^place: there is no backend 'abacus'; known are openvino, "):
        backend_named("abacus", "place")
    order = Order("abacus", "int8", {}, [], [])
    with pytest.raises(StableQuantError, match="config key 'engines': there is no backend 'abacus'"):
        build_engine(order, graph, tiny.folder, tiny.modules, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
    copy = edited(engine, tmp_path / "copy", backend="abacus")
    for ask in (reason_not_run, max_batch, lambda folder: load_engine(folder, 1)):
        with pytest.raises(StableQuantError, match=r"engine\.json: there is no backend 'abacus'"):
            ask(copy)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_an_engines_missing_package_is_named(tiny, engine, tmp_path, backend):
    copy = edited(engine, tmp_path / "engine", backend=backend)
    code = (
        f"import sys; sys.modules['{backend}'] = None\n"
        "from pathlib import Path\nfrom stablequant.engines.running import load_engine\n"
        "load_engine(Path(sys.argv[1]), 1)"
    )
    done = subprocess.run([sys.executable, "-c", code, copy], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert f"engine.json: {backend}'s engine needs the package {backend} " in last
    assert last.endswith(f"run: pip install {backend}")


def edited(engine: Path, copy: Path, **changes) -> Path:
    """A copy of an engine whose engine.json says something else."""
    shutil.copytree(engine, copy)
    described = json.loads((copy / "engine.json").read_text()) | changes
    (copy / "engine.json").write_text(json.dumps(described))
    return copy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not readable as JSON"),
        ('{"backend": "openvino"', "not readable as JSON"),
        ("[]", "not an engine's description"),
        ("{}", "not an engine's description"),
        ('{"backend": 1}', "not an engine's description"),
        ('{"backend": "openvino", "floating": "int4"}', "not an engine's description"),
        ('{"backend": "tensorrt-rtx"}', "not an engine's description"),
        ('{"backend": "tensorrt", "compute_capabilities": [], "version": "1"}', "not an engine's description"),
        (
            '{"backend": "tensorrt", "compute_capabilities": [], "version": "1", "profile": {"samples": [1, 2, 3]}}',
            "not an engine's description",
        ),
        (
            '{"backend": "tensorrt", "compute_capabilities": [], "version": "1", "profile": {"batch": [1, 2]}}',
            "not an engine's description",
        ),
        (
            '{"backend": "tensorrt", "compute_capabilities": [8], "version": "1", "profile": {"batch": [1, 1, 2]}}',
            "not an engine's description",
        ),
        (
            '{"backend": "tensorrt", "compute_capabilities": [], "version": 1, "profile": {"batch": [1, 1, 2]}}',
            "not an engine's description",
        ),
    ],
)
def test_a_damaged_description_is_refused(engine, tmp_path, content, message):
    copy = tmp_path / "copy"
    shutil.copytree(engine, copy)
    (copy / "engine.json").write_text(content)
    for ask in (reason_not_run, max_batch, lambda folder: load_engine(folder, 1)):
        with pytest.raises(StableQuantError, match=rf"engine\.json: {message}"):
            ask(copy)


def test_a_missing_description_is_refused(engine, tmp_path):
    shutil.copytree(engine, tmp_path / "copy")
    (tmp_path / "copy/engine.json").unlink()
    with pytest.raises(StableQuantError, match=r"engine\.json: not readable as JSON"):
        load_engine(tmp_path / "copy", 1)


TWO = Signature(
    inputs={"audio": Tensor(("batch", "samples")), "tokens": Tensor(("batch", "length"), "int64")},
    outputs={"logits": Tensor(("batch", "length", "classes"))},
    warm_up={"batch": 1, "samples": 400, "length": 1},
)


def test_a_networks_tensors_must_be_those_of_its_signature():
    audio, tokens, logits = ({"audio"}, 2), ({"x", "tokens"}, 2), ({"logits"}, 3)
    check_tensors(TWO, [audio, tokens], [logits], Path("model.xml"))
    check_tensors(TWO, [tokens, audio], [logits], Path("model.xml"))  # by name, in any order
    wrong = {
        "inputs and outputs swapped": ([logits], [audio, tokens]),
        "an input as an output": ([audio, logits], [tokens]),
        "one missing": ([audio], [logits]),
        "one too many": ([audio, tokens, ({"mask"}, 2)], [logits]),
        "another name": ([audio, ({"words"}, 2)], [logits]),
        "no name": ([audio, (set(), 2)], [logits]),
        "another rank": ([audio, tokens], [({"logits"}, 2)]),
        "an open rank": ([audio, tokens], [({"logits"}, None)]),
    }
    for what, (inputs, outputs) in wrong.items():
        with pytest.raises(StableQuantError) as refused:
            check_tensors(TWO, inputs, outputs, Path("model.xml"))
        assert str(refused.value).startswith("model.xml: its inputs and outputs are "), what
        wanted = "but a recogniser has audio (2 axes), tokens (2 axes), logits (3 axes); build the engine again"
        assert str(refused.value).endswith(wanted), what


@pytest.mark.parametrize(
    "inputs",
    [
        [({"audio"}, 2), ({"audio"}, 2)],
        [({"audio", "tokens"}, 2), ({"audio"}, 2)],
        [({"audio", "tokens"}, 2), ({"x"}, 2)],
    ],
)
def test_one_tensor_does_not_stand_for_two(inputs):
    with pytest.raises(StableQuantError):
        check_tensors(TWO, inputs, [({"logits"}, 3)], Path("model.xml"))


def test_swapped_inputs_and_outputs_are_refused_by_the_engines(tmp_path):
    """A network that takes logits and gives audio: the same names and axes on the wrong sides."""
    logits = ops.parameter([-1, -1, -1], np.float32, name=OUTPUT)
    audio = ops.reduce_sum(logits, ops.constant([2]))
    audio.output(0).set_names({INPUT})
    ov.save_model(ov.Model([audio], [logits], "swapped"), tmp_path / "swapped.xml")
    with pytest.raises(
        StableQuantError, match=r"swapped\.xml: its .* are logits \(3 axes\), input_values \(2 axes\), but"
    ):
        openvino.load_network(tmp_path / "swapped.xml", SIGNATURE, 1)

    axes = onnx.numpy_helper.from_array(np.array([2]), "axes")
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", [OUTPUT, "axes"], [INPUT], keepdims=0)],
        "swapped",
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["b", "f", "c"])],
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["b", "f"])],
        [axes],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "s.onnx")
    with pytest.raises(StableQuantError, match=r"s\.onnx: its .* are logits \(3 axes\), input_values \(2 axes\), but"):
        onnxruntime.load_network(tmp_path / "s.onnx", SIGNATURE, 1)


def test_a_network_that_cannot_be_computed_is_refused(tmp_path):
    """Names and axes are right, but it takes audio of one length only."""
    audio = ops.parameter([1, 400], np.float32, name=INPUT)
    audio.output(0).set_names({INPUT})
    logits = ops.reshape(audio, ops.constant([1, 20, 20]), False)
    logits.output(0).set_names({OUTPUT})
    ov.save_model(ov.Model([logits], [audio], "fixed"), tmp_path / "fixed.xml")
    with pytest.raises(StableQuantError, match=r"fixed\.xml: it cannot be computed \("):
        openvino.load_network(tmp_path / "fixed.xml", SIGNATURE, 1)


def test_an_engine_that_is_not_tuned_takes_any_length_whatever_is_written(engine, tmp_path):
    shutil.copytree(engine, tmp_path / "copy")
    edit(tmp_path / "copy/engine.json", profile=None)
    assert longest_input(tmp_path / "copy") == math.inf


def test_the_tiny_recognisers_own_graph_lacks_no_module(tiny: Loaded, graph):
    named = {node.name for node in onnx.load(graph).graph.node}
    assert {m.module for m in tiny.modules} <= named
