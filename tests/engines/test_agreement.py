"""The simulation, the QDQ graph and the engines compute the same."""

from contextlib import AbstractContextManager
from pathlib import Path

import jiwer
import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from graphs import export, logits_of, onnx_network, openvino_network, quantize_graph, relative_rms
from recognising import Loaded, batches_of, heard, split_in, torch_network

from stablequant.engines import openvino as engine
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.int8 import Range, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.ctc.decoding import SIGNATURE
from stablequant.recognisers.family import Network
from stablequant.recognisers.operations import operation_of
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.optimise_scales import optimise_scales
from stablequant.search.round_weights import round_weights
from stablequant.search.split import Split


@pytest.fixture(scope="module")
def split(demo, demo_utterances) -> Split:
    return split_in(demo, demo_utterances, 1e8)


@pytest.fixture(scope="module", params=["paper", "extended"])
def channel_scales(request, demo, split) -> dict[str, np.ndarray]:
    """None for the paper's procedure."""
    extended = request.param == "extended"
    return equalise_channels(demo.recogniser(), split, 0.75, 99.9, 30) if extended else {}


@pytest.fixture(scope="module")
def rounded(demo, split, channel_scales) -> dict[str, RoundedWeight]:
    """To the nearest level for the paper's procedure."""
    if not channel_scales:
        return {m.module: quantize_weight(operation_of(demo.model, m).weight.numpy()) for m in demo.modules}
    return round_weights(demo.recogniser(), split, channel_scales, 30)


@pytest.fixture
def simulated(demo, ranges, channel_scales, rounded) -> AbstractContextManager[None]:
    weights = fake_quantized_weights(demo.model, demo.modules, channel_scales, rounded)
    return fake_quantized(demo.model, demo.modules, ranges, channel_scales, weights)


@pytest.fixture(scope="module")
def fp32(demo, tmp_path_factory) -> Path:
    return export(demo, tmp_path_factory.mktemp("onnx") / "fp32.onnx")


@pytest.fixture(scope="module")
def ranges(demo, demo_utterances, channel_scales) -> dict[str, Range]:
    cut_offs = (99.9, 99.5, 99.5, 99.8, 99.8, 99.8, 99.95)  # what the search finds on the demo
    searched = {f"cnn{i:02d}": percentile for i, percentile in enumerate(cut_offs, start=1)}
    extended = bool(channel_scales)
    preparation = Preparation(channel_scales, recentre=extended, split_audio=extended)
    with collecting(demo.model, demo.modules, preparation) as collectors:
        heard(demo, torch_network(demo.model), demo_utterances)
    table = optimise_scales(collectors.histograms(), "stablequant", 99.9, searched)
    return {row["activation"]: Range.of_row(row) for row in table.to_dict("records")}


@pytest.fixture(scope="module")
def int8(demo, fp32, ranges, channel_scales, rounded) -> Path:
    weights = rounded if channel_scales else None
    return quantize_graph(fp32, demo.modules, ranges, channel_scales, fp32.with_name("int8.onnx"), weights)


def recognised(network: Network, demo: Loaded, utterances) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Logits and hypotheses by path."""
    front_end = demo.front_end
    logits, hypotheses = {}, {}
    for batch, audio in loaded(batches_of(demo, utterances), front_end.sample_rate, "engine"):
        found = logits_of(network, np.stack([front_end.prepare(samples) for samples in audio]))
        for utterance, row in zip(batch, found, strict=True):
            logits[utterance.path] = row.copy()
            hypotheses[utterance.path] = front_end.vocabulary.decode(row.argmax(axis=-1))
    return logits, hypotheses


def difference(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Of the logits of all utterances, by path."""
    return relative_rms(np.concatenate([found[path] for path in expected]), np.concatenate(list(expected.values())))


def test_fp32_engine_is_the_model(demo, demo_utterances, fp32):
    network, arithmetic = openvino_network(fp32)
    expected = recognised(torch_network(demo.model), demo, demo_utterances)
    found = recognised(network, demo, demo_utterances)
    assert arithmetic == engine.FLOAT32
    assert difference(found[0], expected[0]) < 1e-4
    assert found[1] == expected[1]


def test_int8_engine_is_the_simulation(demo, demo_utterances, int8, simulated):
    with simulated:
        expected = recognised(torch_network(demo.model), demo, demo_utterances)
    exact = recognised(torch_network(demo.model), demo, demo_utterances)
    network, _ = openvino_network(int8)
    found = recognised(network, demo, demo_utterances)
    assert difference(found[0], expected[0]) < 0.02
    assert difference(exact[0], expected[0]) > 2 * difference(found[0], expected[0]), "quantization changes nothing"
    different = [path for path, hypothesis in found[1].items() if hypothesis != expected[1][path]]
    assert len(different) <= 0.2 * len(demo_utterances)
    for path in different:
        assert nearly_tied(found[0][path], expected[0][path]), path


def nearly_tied(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the two best classes of every frame whose best class differs are within a third of the logits' spread."""
    frames = np.flatnonzero(found.argmax(axis=-1) != expected.argmax(axis=-1))
    best = np.sort(expected[frames], axis=-1)
    return bool((best[:, -1] - best[:, -2] < expected.std() / 3).all())


def test_onnx_runtime_without_fusions_is_the_simulation(demo, demo_utterances, int8, simulated):
    """An independent runtime, in floating point, straight from the graph."""
    few = demo_utterances[:15]
    with simulated:
        expected = recognised(torch_network(demo.model), demo, few)
    found = recognised(onnx_network(int8), demo, few)
    assert difference(found[0], expected[0]) < 0.02


def test_the_graph_holds_the_simulations_scales_and_int8_weights(demo, int8, ranges, rounded):
    model = onnx.load(int8)
    onnx.checker.check_model(model, full_check=True)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    operations = {node.name: node for node in model.graph.node}
    producers = {output: node for node in model.graph.node for output in node.output}
    for module in demo.modules:
        node = operations[module.module]
        activation = producers[node.input[0]]
        assert activation.op_type == "DequantizeLinear"
        assert constants[activation.input[1]] == np.float32(ranges[module.activation].scale)
        levels, scales = rounded[module.module]
        weight = producers[node.input[1]]
        stored = constants[weight.input[0]]
        assert stored.dtype == np.int8
        assert np.array_equal(stored.T if node.op_type == "MatMul" else stored, levels)
        assert np.array_equal(constants[weight.input[1]], scales)
        assert weight.attribute[0].i == (1 if node.op_type == "MatMul" else 0)
    shared = [
        producers[operations[m.module].input[0]].name for m in demo.modules if m.activation == "transformer01.qkv"
    ]
    assert len(shared) == 3
    assert len(set(shared)) == 1, "one tensor, one pair"


def test_no_float_weight_is_left_and_the_size_is_a_quarter(fp32, int8):
    assert int8.stat().st_size / fp32.stat().st_size <= 0.29
    heavy = [c.name for c in onnx.load(int8).graph.initializer if c.data_type == 1 and np.prod(c.dims) > 5000]
    assert heavy == []


def test_the_engine_file_keeps_int8_weights(fp32, int8):
    openvino_network(fp32)
    openvino_network(int8)
    sizes = [graph.with_suffix(".bin").stat().st_size for graph in (int8, fp32)]
    assert sizes[0] / sizes[1] <= 0.29


def test_saturating_kernels_are_found():
    """VNNI, or its absence, as the operating system tells it."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    if "avx2" not in flags:
        pytest.skip("not an x86 CPU with AVX2")
    assert engine.int8_kernels_are_exact() == bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8"})


def test_without_vnni_the_quantized_graph_runs_in_floating_point(int8, monkeypatch):
    used = {}
    compile_model = ov.compile_model

    def watched(model, device, settings):
        used.update(settings)
        return compile_model(model, device, settings)

    monkeypatch.setattr(engine.ov, "compile_model", watched)
    for exact, arithmetic in ((False, engine.FLOAT32), (True, engine.INT8)):
        used.clear()
        monkeypatch.setattr(engine, "int8_kernels_are_exact", lambda exact=exact: exact)
        assert openvino_network(int8)[1] == arithmetic
        assert ("LP_TRANSFORMS_MODE" in used) == (not exact)


def test_bfloat16_between_int8_layers_changes_less_than_quantization(demo, demo_utterances, int8, fp32):
    assert openvino_network(fp32, engine.BFLOAT16)[1] == engine.FLOAT32, (
        "an engine that is not quantized stays as it is"
    )
    network, arithmetic = openvino_network(int8, engine.BFLOAT16)
    possible = engine.int8_kernels_are_exact() and engine.has_bfloat16()
    assert (arithmetic == "int8 and bfloat16") == possible
    if not possible:
        pytest.skip(f"this CPU runs it in {arithmetic}")
    found = recognised(network, demo, demo_utterances)
    expected = recognised(openvino_network(int8)[0], demo, demo_utterances)
    exact = recognised(torch_network(demo.model), demo, demo_utterances)
    assert 0 < difference(found[0], expected[0]) < 0.75 * difference(exact[0], expected[0])
    words = [u.transcript for u in demo_utterances]
    lost = [jiwer.wer(words, [heard[1][u.path] for u in demo_utterances]) for heard in (expected, found)]
    assert abs(lost[1] - lost[0]) < 0.02


def test_bfloat16_is_found():
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    assert engine.has_bfloat16() == bool(flags & {"avx512_bf16", "amx_bf16"})


def test_batch_and_length_are_free(demo, fp32):
    network, _ = openvino_network(fp32)
    for batch, samples in ((1, 400), (3, 16_123), (2, 50_000)):
        audio = torch.randn(batch, samples)
        with torch.inference_mode():
            expected = demo.model(audio).logits.numpy()
        assert np.allclose(logits_of(network, audio.numpy()), expected, atol=1e-3)


@pytest.mark.parametrize("floating", [engine.FLOAT32, engine.BFLOAT16])
def test_a_quantized_engine_forgets_what_it_heard_before(int8, floating):
    draw = np.random.default_rng(0)
    kept, _ = openvino_network(int8, floating)
    for shape in ((1, 400), (3, 16_123), (1, 719), (2, 50_000), (1, 720), (4, 9_000), (1, 400), (1, 64_000)):
        audio = draw.standard_normal(shape, dtype=np.float32)
        fresh, _ = engine.load_network(int8.with_suffix(".xml"), SIGNATURE, 2, floating)
        assert np.abs(logits_of(kept, audio) - logits_of(fresh, audio)).max() < 1e-3, shape
