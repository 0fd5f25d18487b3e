"""Wav2Vec2-BERT through export, Q/DQ insertion and the engines, judged by what they compute."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from bert_files import VARIANTS, by_transformers, noise, write_tiny_bert
from graphs import onnx_network, quantize_graph, relative_rms

from stablequant.engines import onnxruntime as ort_backend
from stablequant.engines import openvino, tensorrt
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.ranges import full_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.family import Family, Limits, Network, Signature
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.operations import groups_of, operation_of
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2_bert.forward import Wav2Vec2BertRecogniser

LENGTHS = (560, 720, 880, 16_000, 16_160, 16_320, 16_480, 50_000)  # odd and even numbers of frames and stacks


@dataclass(frozen=True)
class Exported:
    """A random recogniser, its graph, and what its family says."""

    source: Path
    recogniser: Wav2Vec2BertRecogniser
    fp32: Path
    family: Family

    @property
    def signature(self) -> Signature:
        return self.family.signatures(self.source.with_name("checkpoint"))["model"]


@pytest.fixture(scope="module", params=VARIANTS)
def exported(request, tmp_path_factory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    write_tiny_bert(folder / "source", request.param)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    export_onnx(folder / "checkpoint", folder / "fp32.onnx", threads=2)
    family = family_of(folder / "checkpoint")
    return Exported(folder / "source", load_recogniser(folder / "checkpoint", threads=2), folder / "fp32.onnx", family)


def in_openvino(exported: Exported, graph: Path) -> Network:
    openvino.convert(graph, graph.with_suffix(".xml"))
    return openvino.load_network(graph.with_suffix(".xml"), exported.signature, 2)[0]


def computed(recogniser: Wav2Vec2BertRecogniser, audio: list[np.ndarray]) -> np.ndarray:
    """The torch model's logits of recordings of one length."""
    features = recogniser.front_end.inputs(audio)["input_features"]
    context = recogniser.context([len(samples) for samples in audio])
    return recogniser.logits(recogniser.enter({"hidden": features}), 0, context).numpy()


def test_graph_and_engines_compute_what_transformers_does_at_every_length(exported):
    """Whatever an engine heard first: one frame is the shortest."""
    networks = [onnx_network(exported.fp32), in_openvino(exported, exported.fp32)]
    audio = [noise(length) for length in LENGTHS]
    for samples, expected in zip(audio, by_transformers(exported.source, audio), strict=True):
        for network in networks:
            found = network(exported.recogniser.front_end.inputs([samples] * 2))["logits"]
            assert np.abs(found - expected).max() < 1e-3, len(samples)


@torch.inference_mode()
def test_every_layer_of_the_quantized_graph_and_engine_is_the_simulation(exported):
    """One layer at a time, with channels' scales and with ranges around their own centres."""
    recogniser, draw = exported.recogniser, np.random.default_rng(0)
    audio = [noise(16_480), noise(16_481)[:-1]]
    scales = {}
    for module in recogniser.modules:
        operation = operation_of(recogniser.model, module)
        channels = operation.weight.shape[1] * groups_of(operation)
        scales[module.activation] = draw.uniform(0.5, 2, channels).astype(np.float32)
    preparation = Preparation(scales, recentre=True, split_audio=True)
    with collecting(recogniser.model, recogniser.modules, preparation) as collectors:
        exact = computed(recogniser, audio)
    ranges = {name: full_range(h) for name, h in collectors.histograms().items()}
    assert not any(ranges[m.activation].centre for m in recogniser.modules if m.activation.endswith("depthwise"))
    assert any(chosen.centre for chosen in ranges.values())
    for layer in recogniser.layers:
        modules = [m for m in recogniser.modules if m.layer == layer]
        int8 = quantize_graph(exported.fp32, modules, ranges, scales, exported.fp32.with_name(f"{layer}.onnx"))
        weights = fake_quantized_weights(recogniser.model, modules, scales)
        with fake_quantized(recogniser.model, modules, ranges, scales, weights):
            expected = computed(recogniser, audio)
        effect = relative_rms(exact, expected)
        assert effect > 1e-4, layer
        for network in (onnx_network(int8), in_openvino(exported, int8)):
            found = network(recogniser.front_end.inputs(audio))["logits"]
            assert relative_rms(found, expected) < min(0.01, 0.5 * effect), layer


@pytest.mark.parametrize("exported", ["adapter", "relative"], indirect=True)
def test_a_plan_is_built(exported):
    folder = exported.source.with_name("checkpoint")
    profile = {"batch": Limits(1, 1, 2), **exported.family.limits(folder, [16_000], 160_000)}
    assert tensorrt.build_plan("tensorrt-rtx", exported.fp32, exported.signature, ["8.6"], profile)


def test_onnx_runtimes_backend_takes_features_and_mask(exported, tmp_path):
    """Through the decoder that evaluation and bundles use: the words are those of the torch model."""
    folder = exported.source.with_name("checkpoint")
    network = onnx_network(exported.fp32)
    assert ort_backend.BACKEND.max_batch({}) > 1
    decoder = exported.family.decoder(folder, {"model": network})
    decode = exported.recogniser.front_end.vocabulary.decode
    for length in LENGTHS:
        [expected] = computed(exported.recogniser, [noise(length)])
        assert decoder.recognise([noise(length)]) == [decode(expected.argmax(axis=-1))]
    words = decoder.transcribe(noise(16_480), 30, 1e9, 8)
    [expected] = computed(exported.recogniser, [noise(16_480)])
    assert " ".join(word.word for word in words) == decode(expected.argmax(axis=-1))
    assert 0 < words[-1].end <= 16_640 / 16_000
    long = decoder.transcribe(noise(40 * 16_000), 10, 1e9, 2)
    assert 39 < long[-1].end <= 40.1
