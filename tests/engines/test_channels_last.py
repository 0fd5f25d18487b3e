"""Convolutions as products over channels that lie last: the same numbers, at any length."""

import numpy as np
import openvino as ov
import pytest
from graphs import export
from openvino import opset13 as ops
from recognising import Loaded
from wav2vec2_files import write_tiny_checkpoint

from stablequant.engines.openvino_channels_last import channels_last
from stablequant.recognisers.import_checkpoint import import_checkpoint

CHANNELS = 6


def compiled(model: ov.Model) -> ov.CompiledModel:
    return ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def kinds(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def network(kernel: int, stride: int, padding: int = 0, norm: bool = True) -> ov.Model:
    """A convolution with bias, layer norm over channels and GELU, twice over; ``(batch, channels, length)``."""
    draw = np.random.default_rng(kernel * 10 + stride)
    audio = ops.parameter([-1, CHANNELS, -1], np.float32)
    values = audio
    for _ in range(2):
        weight = draw.standard_normal((CHANNELS, CHANNELS, kernel), dtype=np.float32)
        values = ops.convolution(values, ops.constant(weight), [stride], [padding], [padding], [1])
        values = ops.add(values, ops.constant(draw.standard_normal((1, CHANNELS, 1), dtype=np.float32)))
        if norm:
            turned = ops.transpose(values, [0, 2, 1])
            turned = ops.mvn(turned, ops.constant([-1]), True, 1e-5, "inside_sqrt")
            values = ops.transpose(ops.multiply(turned, ops.constant(np.arange(1, 7, dtype=np.float32))), [0, 2, 1])
        values = ops.gelu(values, "erf")
    return ov.Model([values], [audio], "network")


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (5, 2), (5, 3), (10, 5)])
def test_the_numbers_and_lengths_are_those_of_the_convolution(kernel, stride):
    plain, rewritten = network(kernel, stride), network(kernel, stride)
    channels_last(rewritten)
    assert "Convolution" not in kinds(rewritten)
    assert kinds(rewritten).count("Transpose") == 2, "one at either end"
    expected, found = compiled(plain), compiled(rewritten)
    shortest = (kernel - 1) * stride + kernel  # what the second one's first step reads
    for length in [*range(shortest, shortest + 3 * stride), 400, 401]:
        audio = np.random.default_rng(length).standard_normal((2, CHANNELS, length), dtype=np.float32)
        wanted = expected([audio])[0]
        assert found([audio])[0].shape == wanted.shape
        assert np.abs(found([audio])[0] - wanted).max() < 1e-4, length


@pytest.mark.parametrize("changes", [{"padding": 1}, {"norm": False}])
def test_what_gains_nothing_is_left_as_it_is(changes):
    model = network(3, 2, **changes)
    before = kinds(model)
    channels_last(model)
    assert kinds(model) == before


def reading_audio() -> ov.Model:
    """Two convolutions, of which the first has one channel to read, with a norm over time between them."""
    draw = np.random.default_rng(0)
    audio = ops.parameter([-1, -1], np.float32)
    first = draw.standard_normal((CHANNELS, 1, 10), dtype=np.float32)
    values = ops.convolution(ops.unsqueeze(audio, 1), ops.constant(first), [5], [0], [0], [1])
    values = ops.mvn(values, ops.constant([-1]), True, 1e-5, "inside_sqrt")
    second = draw.standard_normal((CHANNELS, CHANNELS, 3), dtype=np.float32)
    values = ops.convolution(ops.gelu(values, "erf"), ops.constant(second), [2], [0], [0], [1])
    return ov.Model([values], [audio], "network")


def test_without_layer_norm_only_the_convolution_that_reads_audio_becomes_a_product():
    plain, rewritten = reading_audio(), reading_audio()
    channels_last(rewritten)
    assert kinds(rewritten).count("Convolution") == 1 and kinds(rewritten).count("MatMul") == 1
    expected, found = compiled(plain), compiled(rewritten)
    for samples in (20, 23, 24, 25, 400, 1601):
        audio = np.random.default_rng(samples).standard_normal((2, samples), dtype=np.float32)
        wanted = expected([audio])[0]
        assert found([audio])[0].shape == wanted.shape
        assert np.abs(found([audio])[0] - wanted).max() < 1e-4, samples


def test_a_feature_extractor_with_layer_norm_turns_nothing_over(tmp_path):
    write_tiny_checkpoint(tmp_path / "source", "wav2vec2")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    loaded = Loaded.load(tmp_path / "checkpoint")
    model = ov.Core().read_model(export(loaded, tmp_path / "fp32.onnx"))
    turns = kinds(model).count("Transpose")
    convolutions = sum(m.layer.startswith("cnn") for m in loaded.modules)
    channels_last(model)
    assert "Convolution" not in kinds(model)
    assert kinds(model).count("Transpose") == turns - 2 * convolutions + 2


def of_int8_weights(zero_point: int, scales: tuple[int, ...]) -> ov.Model:
    """A convolution that reads audio, with a weight that is written as other programs may write it."""
    draw = np.random.default_rng(0)
    audio, levels = ops.parameter([-1, 1, -1], np.float32), draw.integers(-100, 100, (CHANNELS, 1, 4), dtype=np.int8)
    point = ops.convert(ops.constant(np.full((CHANNELS, 1, 1), zero_point, dtype=np.int8)), np.float32)
    centred = ops.subtract(ops.convert(ops.constant(levels), np.float32), point)
    weight = ops.multiply(centred, ops.constant(draw.uniform(0.01, 0.02, scales).astype(np.float32)))
    return ov.Model([ops.convolution(audio, weight, [2], [0], [0], [1])], [audio], "network")


@pytest.mark.parametrize(
    ("zero_point", "scales", "product"),
    [(0, (CHANNELS, 1, 1), True), (0, (), True), (5, (CHANNELS, 1, 1), False), (0, (1, 1, 4), False)],
)
def test_a_weight_with_zero_points_or_scales_of_another_axis_stays(zero_point, scales, product):
    plain, rewritten = of_int8_weights(zero_point, scales), of_int8_weights(zero_point, scales)
    channels_last(rewritten)
    assert ("Convolution" not in kinds(rewritten)) == product
    audio = np.random.default_rng(1).standard_normal((2, 1, 101), dtype=np.float32)
    assert np.abs(compiled(rewritten)([audio])[0] - compiled(plain)([audio])[0]).max() < 1e-4
