"""Every supported architecture through export, Q/DQ insertion and the engines, judged by what they compute."""

from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import soundfile
from graphs import export, logits_of, onnx_network, openvino_network, quantize_graph, relative_rms
from recognising import Loaded, split_in, torch_network
from wav2vec2_files import ARCHITECTURES, write_tiny_checkpoint

from stablequant.corpora.utterance import Utterance
from stablequant.engines import tensorrt
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.ctc.decoding import SIGNATURE
from stablequant.recognisers.family import Limits
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import groups_of, operation_of
from stablequant.search.round_weights import round_weights
from stablequant.storage import onnx_graph
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
def exported(request, tmp_path_factory) -> tuple[Loaded, Path]:
    return import_and_export(tmp_path_factory.mktemp(request.param), request.param)


def import_and_export(folder: Path, architecture: str, **changes) -> tuple[Loaded, Path]:
    """A random recogniser after its import, and its graph."""
    write_tiny_checkpoint(folder / "source", architecture, **changes)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    loaded = Loaded.load(folder / "checkpoint")
    return loaded, export(loaded, folder / "fp32.onnx")


def audio(batch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((batch, samples), dtype=np.float32)


class Prepared(NamedTuple):
    """How a recogniser is quantized: ranges around their own centres, random scales for the channels, weights.

    Two channels of every activation reach far beyond the rest and are carried, but for the audio and grouped products.
    """

    ranges: dict[str, Range]
    scales: dict[str, np.ndarray]
    rounded: dict[str, RoundedWeight]


def prepare(loaded: Loaded) -> Prepared:
    draw = np.random.default_rng(0)
    scales, carried = {}, {}
    for module in loaded.modules:
        operation = operation_of(loaded.model, module)
        channels = operation.weight.shape[1] * groups_of(operation)
        scales[module.activation] = draw.uniform(0.5, 2, channels).astype(np.float32)
        if channels > 1 and groups_of(operation) == 1:
            carried[module.activation] = (1, channels - 2)
            scales[module.activation][[1, channels - 2]] /= 50
    with collecting(loaded.model, loaded.modules, Preparation(scales, True, True, carried)) as collectors:
        computed(loaded, audio(2, 16_000))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "noise.wav"
        soundfile.write(path, audio(1, 16_000)[0] / 10, 16_000)
        noise = [Utterance("noise", str(path), 16_000, "", checksum(path))]
        rounded = round_weights(loaded.recogniser(), split_in(loaded, noise), scales, 1)
    return Prepared({name: full_range(h) for name, h in collectors.histograms().items()}, scales, rounded)


def quantize(fp32: Path, modules: list[QuantizedModule], prepared: Prepared, name: str = "int8.onnx") -> Path:
    return quantize_graph(fp32, modules, prepared.ranges, prepared.scales, fp32.with_name(name), prepared.rounded)


def simulated(loaded: Loaded, modules: list[QuantizedModule], prepared: Prepared) -> AbstractContextManager[None]:
    weights = fake_quantized_weights(loaded.model, modules, prepared.scales, prepared.rounded)
    return fake_quantized(loaded.model, modules, prepared.ranges, prepared.scales, weights)


def computed(loaded: Loaded, heard: np.ndarray) -> np.ndarray:
    """The torch model's logits."""
    return logits_of(torch_network(loaded.model), heard)


def test_the_graph_computes_the_model_at_every_length(exported):
    loaded, fp32 = exported
    for batch, samples in LENGTHS:
        heard = audio(batch, samples)
        found = logits_of(onnx_network(fp32, optimised=True), heard)
        assert np.abs(found - computed(loaded, heard)).max() < 1e-4, samples


def test_the_quantized_graph_and_engine_are_the_simulation(exported):
    # a random network amplifies every value that lies on an edge; a graph left in floating point is off by the effect
    assert_simulated(*exported, 0.5)


def assert_simulated(loaded: Loaded, fp32: Path, tolerated: float) -> None:
    """The quantized graph and its engine compute what the simulation does, to ``tolerated`` of what that changes."""
    prepared = prepare(loaded)
    int8 = quantize(fp32, loaded.modules, prepared)
    heard = audio(2, 16_123)
    exact = computed(loaded, heard)
    with simulated(loaded, loaded.modules, prepared):
        expected = computed(loaded, heard)
    effect = relative_rms(exact, expected)
    assert effect > 0.02, "quantization changes nothing: the comparison would prove nothing"
    assert relative_rms(logits_of(onnx_network(int8), heard), expected) < tolerated * effect
    network, _ = openvino_network(int8)
    assert relative_rms(logits_of(network, heard), expected) < tolerated * effect


def test_what_an_engine_heard_first_changes_nothing_later(exported):
    """OpenVINO keeps kernels that it made for the first lengths; one frame is the shortest."""
    loaded, fp32 = exported
    network, _ = openvino_network(fp32)
    for batch, samples in ((1, 400), (2, 16_123), (1, 719), (1, 720), (3, 9_000), (1, 400), (1, 30_000)):
        heard = audio(batch, samples)
        assert np.abs(logits_of(network, heard) - computed(loaded, heard)).max() < 1e-3, (batch, samples)


def test_every_layer_of_the_quantized_graph_and_engine_is_the_simulation(exported):
    loaded, fp32 = exported
    assert_layers_simulated(loaded, fp32, list(dict.fromkeys(m.layer for m in loaded.modules)))


def assert_layers_simulated(loaded: Loaded, fp32: Path, layers: list[str]) -> None:
    """One at a time, so that little can be amplified: exact to a few values that lie on an edge."""
    prepared = prepare(loaded)
    heard = audio(2, 16_123)
    for layer in layers:
        modules = [m for m in loaded.modules if m.layer == layer]
        int8 = quantize(fp32, modules, prepared, "layer.onnx")
        with simulated(loaded, modules, prepared):
            expected = computed(loaded, heard)
        assert relative_rms(logits_of(onnx_network(int8), heard), expected) < 0.005, layer
        network, _ = openvino_network(int8)
        assert relative_rms(logits_of(network, heard), expected) < 0.005, layer
        del network


@pytest.mark.parametrize("exported", ["wavlm", "conformer-relative"], indirect=True)
def test_a_plan_is_built(exported):
    loaded, fp32 = exported
    int8 = quantize(fp32, loaded.modules, prepare(loaded))
    profile = {"batch": Limits(1, 1, 2), "samples": Limits(400, 16_000, 160_000)}
    assert tensorrt.build_plan("tensorrt-rtx", int8, SIGNATURE, ["8.6"], profile)


def test_a_graph_too_large_for_one_file_keeps_its_weights_beside_it(tiny, tmp_path, monkeypatch):
    """HuBERT extra large's shape of things, by a lowered limit."""
    paths = {}
    for name, limit in (("whole", onnx_graph.MAX_PROTOBUF_BYTES), ("divided", 1000)):
        monkeypatch.setattr(onnx_graph, "MAX_PROTOBUF_BYTES", limit)
        fp32 = export(tiny, tmp_path / name / "fp32.onnx")
        monkeypatch.setattr(onnx_graph, "MAX_PROTOBUF_BYTES", 1 << 30)  # INT8 fits again
        paths[name] = fp32, quantize(fp32, tiny.modules, prepare(tiny))
    divided, whole = paths["divided"], paths["whole"]
    assert divided[0].with_name("fp32.onnx.data").is_file()
    assert divided[0].stat().st_size < whole[0].stat().st_size / 2
    assert graph_bytes(divided[0]) == pytest.approx(graph_bytes(whole[0]), rel=0.05)
    assert divided[1].read_bytes() == whole[1].read_bytes()
    assert checksums(divided[0]).keys() == {"fp32.onnx", "fp32.onnx.data"}
    assert not [t.name for t in onnx.load(divided[1], load_external_data=False).graph.initializer if t.external_data]
    heard = audio(1, 16_000)
    for path in divided:
        assert logits_of(onnx_network(path, optimised=True), heard).shape == (1, 49, 32)
    network, _ = openvino_network(divided[0])
    assert np.abs(logits_of(network, heard) - computed(tiny, heard)).max() < 1e-4


@pytest.mark.extra_large
def test_hubert_extra_large_goes_all_the_way(tmp_path):
    loaded, fp32 = import_and_export(tmp_path, "hubert", **EXTRA_LARGE)
    assert sum(values.numel() for values in loaded.model.state_dict().values()) > 960e6
    assert fp32.with_name("fp32.onnx.data").stat().st_size > onnx_graph.MAX_PROTOBUF_BYTES
    assert_simulated(loaded, fp32, 1)
    assert_layers_simulated(loaded, fp32, ["cnn01", "positional", "transformer24"])
    assert graph_bytes(fp32.with_name("int8.onnx")) < 0.2530 * graph_bytes(fp32)
