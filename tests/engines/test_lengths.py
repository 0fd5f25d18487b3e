"""Convolutions and products see few lengths of audio, and the numbers are the same."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from stablequant.engines.openvino_channels_last import channels_last
from stablequant.engines.openvino_frames import PROBES, Frames, Reach
from stablequant.engines.openvino_lengths import STEPS, round_lengths

WIDTH, HEADS = 8, 2
HOP, SHORTEST = 20, 25  # of the network below: 10 + 5 + 10 samples
LENGTHS = [SHORTEST, SHORTEST + HOP - 1, SHORTEST + HOP, *(SHORTEST + HOP * n for n in (30, 31, 32, 33, 34, 40, 77))]


def compiled(model: ov.Model) -> ov.CompiledModel:
    return ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def kinds(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops()]


def weight(*shape: int) -> ov.Node:
    return ops.constant(np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32) / shape[-1])


def attention(values: ov.Node, relative: bool, quantized: bool) -> ov.Node:
    """Written as the exporter does, with a size that is computed from the audio in each reshape.

    Some tools put constants into INT8, such as the factor of the scores.
    """
    frames = ops.gather(ops.shape_of(values), ops.constant([0, 1]), ops.constant(0))
    split = ops.concat([frames, ops.constant([HEADS, WIDTH // HEADS])], 0)
    products = [ops.matmul(values, weight(WIDTH, WIDTH), False, turned) for turned in (True, False, False)]
    heads = [ops.reshape(product, split, False) for product in products]
    queries, keys, mixed = (ops.transpose(h, [0, 2, 3, 1] if n == 1 else [0, 2, 1, 3]) for n, h in enumerate(heads))
    factor = ops.constant(np.float32(0.5))
    if quantized:
        factor = ops.fake_quantize(factor, *map(np.float32, (0, 0.5, 0, 0.5)), 256)
    scores = ops.multiply(ops.matmul(queries, keys, False, False), factor)
    if relative:
        scores = ops.add(scores, ops.sin(scores))
    bounded = ops.maximum(scores, np.float32(np.finfo(np.float32).min))
    found = ops.transpose(ops.matmul(ops.softmax(bounded, -1), mixed, False, False), [0, 2, 1, 3])
    return ops.reshape(found, ops.concat([frames, ops.constant([WIDTH])], 0), False)


def network(relative: bool = False, by_time: bool = True, quantized: bool = False) -> ov.Model:
    """A small recogniser: audio ``(batch, samples)``, logits ``(batch, frames, WIDTH)``."""
    audio = ops.parameter([-1, -1], np.float32)
    values = ops.convolution(ops.unsqueeze(audio, 1), weight(WIDTH, 1, 10), [5], [0], [0], [1])
    if by_time:
        values = ops.mvn(values, ops.constant([2]), True, 1e-5, "inside_sqrt")
    for _ in range(2):
        values = ops.convolution(ops.gelu(values, "erf"), weight(WIDTH, WIDTH, 2), [2], [0], [0], [1])
        rank = ops.shape_of(ops.shape_of(values))  # as biases are written
        shape = ops.concat([ops.constant([1, WIDTH]), ops.subtract(rank, np.int64(2))], 0)
        values = ops.add(values, ops.reshape(weight(WIDTH), shape, False))
    values = ops.transpose(values, [0, 2, 1])
    values = ops.mvn(values, ops.range(np.int64(2), np.int64(3), np.int64(1), "i64"), True, 1e-5, "inside_sqrt")
    turned = ops.transpose(values, [0, 2, 1])
    placed = ops.convolution(turned, weight(WIDTH, WIDTH, 4), [1], [2], [2], [1])
    placed = ops.slice(placed, ops.constant([0]), ops.constant([-1]), ops.constant([1]), ops.constant([2]))
    values = ops.add(values, ops.transpose(placed, [0, 2, 1]))
    values = ops.add(values, ops.matmul(attention(values, relative, quantized), weight(WIDTH, WIDTH), False, False))
    logits = ops.add(ops.matmul(values, weight(WIDTH, WIDTH), False, False), weight(WIDTH))
    logits.output(0).get_tensor().set_names({"logits"})
    return ov.Model([logits], [audio], "network")


@pytest.mark.parametrize("changes", [{}, {"relative": True}, {"by_time": False}, {"quantized": True}])
def test_the_numbers_and_lengths_are_the_same(changes):
    plain, rounded = network(**changes), network(**changes)
    round_lengths(rounded)
    channels_last(rounded)  # it needs to know the number of channels
    assert rounded.outputs[0].get_names() == {"logits"}
    expected, found = compiled(plain), compiled(rounded)
    for batch, samples in enumerate(LENGTHS, 1):
        audio = np.random.default_rng(samples).standard_normal((batch % 3 + 1, samples), dtype=np.float32)
        wanted = expected([audio])[0]
        assert found([audio])[0].shape == wanted.shape, samples
        assert np.abs(found([audio])[0] - wanted).max() < 1e-5, samples


def lengths_seen(model: ov.Model, kind: str) -> dict[str, set[str]]:
    """The shapes that each operation of a kind with constant weights reads, for audio of many lengths."""
    seen: dict[str, set[str]] = {}
    for frames in range(128, 192):
        model.reshape(ov.PartialShape([1, SHORTEST + HOP * frames + frames % HOP]))
        for node in model.get_ordered_ops():
            if node.get_type_name() == kind and node.input_value(1).get_node().get_type_name() == "Constant":
                seen.setdefault(node.get_name(), set()).add(str(node.input_value(0).get_partial_shape()))
    model.reshape(ov.PartialShape([-1, -1]))
    return seen


def test_products_and_convolutions_see_few_lengths():
    plain, rounded = network(), network()
    round_lengths(rounded)
    few = 64 // (128 // STEPS) + 1
    assert {len(shapes) for shapes in lengths_seen(plain, "MatMul").values()} == {64}
    assert max(len(shapes) for shapes in lengths_seen(rounded, "MatMul").values()) <= few
    counts = sorted(len(shapes) for shapes in lengths_seen(rounded, "Convolution").values())
    assert counts[1] <= few and counts[2:] == [64, 64], "that of the audio and that of the positions stay"
    assert all(n <= few for n in counts[:2])


def test_audio_is_padded_at_once_if_nothing_reads_all_of_it():
    rounded = network(by_time=False)
    round_lengths(rounded)
    pads = [node for node in rounded.get_ordered_ops() if node.get_type_name() == "Pad"]
    assert pads[0].input_value(0).get_node().get_type_name() == "Unsqueeze"


def test_only_the_rank_of_a_convolution_is_read_without_a_copy():
    """With a copy beside it, OpenVINO (2026.4.1) computes an INT8 convolution wrongly."""
    rounded = network()
    round_lengths(rounded)
    for node in rounded.get_ordered_ops():
        if node.get_type_name() == "ShapeOf":
            assert node.input_value(0).get_node().get_type_name() != "Slice"


def test_models_of_one_length_and_of_several_inputs_stay_as_they_are():
    audio, other = ops.parameter([-1, 4, 100], np.float32), ops.parameter([-1, -1, 4], np.float32)
    fixed = ov.Model([ops.convolution(audio, weight(4, 4, 2), [1], [0], [0], [1])], [audio], "fixed")
    several = ov.Model([ops.matmul(ops.add(other, ops.sin(other)), weight(4, 4), False, False)], [other], "one")
    extra = ops.parameter([-1, -1, 4], np.float32)
    two = ov.Model([ops.matmul(ops.add(other, extra), weight(4, 4), False, False)], [other, extra], "two")
    for model, changed in ((fixed, False), (two, False), (several, True)):
        before = kinds(model)
        round_lengths(model)
        assert (kinds(model) != before) == changed


def test_the_reach_of_the_frames_follows_from_the_convolutions():
    frames = Frames(network())
    assert frames.whole == Reach(25, HOP)
    for _, samples in PROBES:
        model = network()
        model.reshape(ov.PartialShape([1, samples]))
        assert model.outputs[0].get_shape()[1] == frames.whole.frames(samples)
