"""Every supported architecture through export, Q/DQ insertion and the engines, judged by what they compute."""

from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from conftest import ARCHITECTURES, Recogniser, write_tiny_checkpoint

from stablequant.corpora.list_utterances import Utterance
from stablequant.engines import openvino, tensorrt
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.collecting import collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.ctc.export_onnx import export_onnx
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.operations import groups_of, operation_of
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.recognisers.wav2vec2.loading import load_recogniser, torch_infer
from stablequant.search.recognise_reference import Split
from stablequant.search.round_weights import round_weights
from stablequant.storage import onnx_graph as graph
from stablequant.storage.files import checksum, graph_bytes
from stablequant.workflow.provenance import checksums

LENGTHS = ((1, 400), (1, 720), (3, 16_123), (2, 50_000))


EXTRA_LARGE = {
    "hidden_size": 1280,
    "num_attention_heads": 16,
    "num_hidden_layers": 48,
    "intermediate_size": 5120,
    "conv_dim": (512,) * 7,
    "conv_bias": True,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def exported(request, tmp_path_factory) -> tuple[Recogniser, Path]:
    return export(tmp_path_factory.mktemp(request.param), request.param)


def export(folder: Path, architecture: str, **changes) -> tuple[Recogniser, Path]:
    """A random recogniser after its import, and its graph."""
    write_tiny_checkpoint(folder / "source", architecture, **changes)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    recogniser = Recogniser.load(folder / "checkpoint")
    export_onnx(recogniser.model, recogniser.modules, folder / "fp32.onnx")
    return Recogniser.load(folder / "checkpoint"), folder / "fp32.onnx"


def audio(batch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((batch, samples), dtype=np.float32)


class Prepared(NamedTuple):
    """How a recogniser is quantized: ranges around their own centres, random scales for the channels, weights."""

    ranges: dict[str, Range]
    scales: dict[str, np.ndarray]
    rounded: dict[str, RoundedWeight]


def prepare(recogniser: Recogniser) -> Prepared:
    draw = np.random.default_rng(0)
    scales = {}
    for module in recogniser.modules:
        operation = operation_of(recogniser.model, module)
        channels = operation.weight.shape[1] * groups_of(operation)
        scales[module.activation] = draw.uniform(0.5, 2, channels).astype(np.float32)
    with collecting(recogniser.model, recogniser.modules, scales, recentre=True, split_audio=True) as collectors:
        torch_infer(recogniser.model)(audio(2, 16_000))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "noise.wav"
        soundfile.write(path, audio(1, 16_000)[0] / 10, 16_000)
        heard = [Utterance("noise", str(path), 16_000, "", checksum(path))]
        split = Split(heard, [heard], recogniser.front_end, {})
        rounded = round_weights(Stages(recogniser.model), recogniser.modules, split, scales, 1)
    return Prepared({name: full_range(h) for name, h in collectors.histograms().items()}, scales, rounded)


def quantize(recogniser: Recogniser, fp32: Path, prepared: Prepared) -> Path:
    int8 = fp32.with_name("int8.onnx")
    insert_qdq(fp32, recogniser.modules, prepared.ranges, prepared.scales, int8, prepared.rounded)
    return int8


def simulated(
    recogniser: Recogniser, modules: list[QuantizedModule], prepared: Prepared
) -> AbstractContextManager[None]:
    weights = fake_quantized_weights(recogniser.model, modules, prepared.scales, prepared.rounded)
    return fake_quantized(recogniser.model, modules, prepared.ranges, prepared.scales, weights)


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / expected.var()))


def unoptimised() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def test_the_graph_computes_the_model_at_every_length(exported):
    recogniser, fp32 = exported
    session = onnxruntime.InferenceSession(fp32, providers=["CPUExecutionProvider"])
    for batch, samples in LENGTHS:
        heard = audio(batch, samples)
        found = session.run(None, {"input_values": heard})[0]
        assert np.abs(found - torch_infer(recogniser.model)(heard)).max() < 1e-4, samples


def test_the_quantized_graph_and_engine_are_the_simulation(exported):
    # a random network amplifies every value that lies on an edge; a graph left in floating point is off by the effect
    assert_simulated(*exported, 0.5)


def assert_simulated(recogniser: Recogniser, fp32: Path, tolerated: float) -> None:
    """The quantized graph and its engine compute what the simulation does, to ``tolerated`` of what that changes."""
    prepared = prepare(recogniser)
    int8 = quantize(recogniser, fp32, prepared)
    heard = audio(2, 16_123)
    exact = torch_infer(recogniser.model)(heard)
    with simulated(recogniser, recogniser.modules, prepared):
        expected = torch_infer(recogniser.model)(heard)
    effect = relative_rms(exact, expected)
    assert effect > 0.02, "quantization changes nothing: the comparison would prove nothing"
    session = onnxruntime.InferenceSession(int8, unoptimised(), providers=["CPUExecutionProvider"])
    assert relative_rms(session.run(None, {"input_values": heard})[0], expected) < tolerated * effect
    folder = int8.with_suffix(".engine")
    folder.mkdir()
    openvino.build(int8, folder)
    infer, _ = openvino.load(folder, threads=2)
    assert relative_rms(infer(heard), expected) < tolerated * effect


def test_what_an_engine_heard_first_changes_nothing_later(exported, tmp_path):
    """OpenVINO keeps kernels that it made for the first lengths; one frame is the shortest."""
    recogniser, fp32 = exported
    openvino.build(fp32, tmp_path)
    infer, _ = openvino.load(tmp_path, threads=2)
    for batch, samples in ((1, 400), (2, 16_123), (1, 719), (1, 720), (3, 9_000), (1, 400), (1, 30_000)):
        heard = audio(batch, samples)
        assert np.abs(infer(heard) - torch_infer(recogniser.model)(heard)).max() < 1e-3, (batch, samples)


def test_every_layer_of_the_quantized_graph_and_engine_is_the_simulation(exported):
    recogniser, fp32 = exported
    assert_layers_simulated(recogniser, fp32, list(dict.fromkeys(m.layer for m in recogniser.modules)))


def assert_layers_simulated(recogniser: Recogniser, fp32: Path, layers: list[str]) -> None:
    """One at a time, so that little can be amplified: exact to a few values that lie on an edge."""
    prepared = prepare(recogniser)
    heard = audio(2, 16_123)
    int8, engine = fp32.with_name("layer.onnx"), fp32.with_name("layer.engine")
    engine.mkdir()
    for layer in layers:
        modules = [m for m in recogniser.modules if m.layer == layer]
        insert_qdq(fp32, modules, prepared.ranges, prepared.scales, int8, prepared.rounded)
        with simulated(recogniser, modules, prepared):
            expected = torch_infer(recogniser.model)(heard)
        session = onnxruntime.InferenceSession(int8, unoptimised(), providers=["CPUExecutionProvider"])
        assert relative_rms(session.run(None, {"input_values": heard})[0], expected) < 0.005, layer
        del session
        openvino.build(int8, engine)
        infer, _ = openvino.load(engine, threads=2)
        assert relative_rms(infer(heard), expected) < 0.005, layer
        del infer


@pytest.mark.parametrize("exported", ["wavlm", "conformer-relative"], indirect=True)
def test_a_plan_is_built(exported, tmp_path):
    recogniser, fp32 = exported
    int8 = quantize(recogniser, fp32, prepare(recogniser))
    tensorrt.build("tensorrt-rtx", int8, tmp_path, ["8.6"], tensorrt.Profile(400, 16_000, 160_000, 2))
    assert (tmp_path / "model.plan").stat().st_size > 0


def test_a_graph_too_large_for_one_file_keeps_its_weights_beside_it(tiny, tmp_path, monkeypatch):
    """HuBERT extra large's shape of things, by a lowered limit."""
    paths = {}
    for name, limit in (("whole", graph.MAX_PROTOBUF_BYTES), ("divided", 1000)):
        monkeypatch.setattr(graph, "MAX_PROTOBUF_BYTES", limit)
        fp32 = tmp_path / name / "fp32.onnx"
        export_onnx(load_recogniser(tiny.folder, attention="eager"), tiny.modules, fp32)
        monkeypatch.setattr(graph, "MAX_PROTOBUF_BYTES", 1 << 30)  # INT8 fits again
        paths[name] = fp32, quantize(tiny, fp32, prepare(tiny))
    divided, whole = paths["divided"], paths["whole"]
    assert divided[0].with_name("fp32.onnx.data").is_file()
    assert divided[0].stat().st_size < whole[0].stat().st_size / 2
    assert graph_bytes(divided[0]) == pytest.approx(graph_bytes(whole[0]), rel=0.05)
    assert divided[1].read_bytes() == whole[1].read_bytes()
    assert checksums(divided[0]).keys() == {"fp32.onnx", "fp32.onnx.data"}
    assert not [t.name for t in onnx.load(divided[1], load_external_data=False).graph.initializer if t.external_data]
    heard = audio(1, 16_000)
    for path in divided:
        with torch.inference_mode():
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.run(None, {"input_values": heard})[0].shape == (1, 49, 32)
    openvino.build(divided[0], tmp_path)
    infer, _ = openvino.load(tmp_path, threads=1)
    assert np.abs(infer(heard) - torch_infer(tiny.model)(heard)).max() < 1e-4


@pytest.mark.extra_large
def test_hubert_extra_large_goes_all_the_way(tmp_path):
    recogniser, fp32 = export(tmp_path, "hubert", **EXTRA_LARGE)
    assert sum(values.numel() for values in recogniser.model.state_dict().values()) > 960e6
    assert fp32.with_name("fp32.onnx.data").stat().st_size > graph.MAX_PROTOBUF_BYTES
    assert_simulated(recogniser, fp32, 1)
    assert_layers_simulated(recogniser, fp32, ["cnn01", "positional", "transformer24"])
    assert graph_bytes(fp32.with_name("int8.onnx")) < 0.2530 * graph_bytes(fp32)
