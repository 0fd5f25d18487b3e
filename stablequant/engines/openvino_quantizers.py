"""Quantizers that must not become INT8 on this CPU, because OpenVINO would compute wrong numbers.

In place of such a quantizer stand the operations that define it. The same levels are then multiplied in floating point,
which is exact, but slower.
"""

import functools

import numpy as np
import openvino as ov
from openvino import opset13 as ops

BETWEEN = ("Multiply", "Subtract", "Convert", "Slice")  # a quantizer and what reads its numbers
LENGTH = 64  # frames of the input that is tried
TOLERANCE = 0.01  # of the mean magnitude; wrong kernels are off by more than all of it


def decompose_multiplied(model: ov.Model) -> None:
    """Change ``model`` in place: replace every FakeQuantize behind a factor per channel.

    Otherwise OpenVINO (2026.4.1) loses the factor if a transposition is before it and the quantizer does not become
    INT8.
    """
    for quantizer in [op for op in model.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]:
        if _multiplied(quantizer.input_value(0).get_node()):
            quantizer.output(0).replace(_decomposed(quantizer))


def decompose_before_wrong_convolutions(model: ov.Model) -> None:
    """Change ``model`` in place: grouped convolutions over time that are wrong here in INT8 read floating point.

    It is for networks that compute in float32 between INT8 layers: see `grouped_convolution_is_exact`.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "GroupConvolution" or len(node.get_attributes()["strides"]) != 1:
            continue
        shape = tuple(node.input_value(1).get_partial_shape().get_max_shape())
        source = integers = node.input_value(0).get_node()
        while source.get_type_name() in BETWEEN:
            integers, source = source, source.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize" and not grouped_convolution_is_exact(shape):
            place = integers if integers.get_type_name() == "Convert" else source  # without the way through integers
            place.output(0).replace(_decomposed(source))


@functools.cache
def grouped_convolution_is_exact(shape: tuple[int, ...]) -> bool:
    """Whether this CPU computes an INT8 convolution whose weight has ``shape`` right, if it gives float32.

    ``shape`` is ``(groups, outputs, inputs, frames)``, of one group. On CPUs with AMX, OpenVINO (2026.4.1) computes
    some with few channels a group and many frames wrongly, if the input is padded: those of 12 channels and 16 frames,
    but not of 3 frames or 48 channels. In bfloat16 they are right.
    """
    groups, outputs, inputs, frames = shape
    draw, padding = np.random.default_rng(0), frames // 2
    weight = draw.integers(-127, 128, shape)
    audio = draw.integers(-127, 128, (1, groups * inputs, LENGTH)).astype(np.float32) / 127
    padded = np.pad(audio.reshape(groups, inputs, LENGTH), ((0, 0), (0, 0), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, frames, axis=-1)  # (groups, inputs, places, frames)
    expected = np.einsum("goif,gipf->gop", weight, windows, optimize=True).reshape(groups * outputs, -1) / 127
    level = np.float32(1 / 127)
    values = ops.parameter(list(audio.shape), ov.Type.f32)
    bounds = [np.float32(-128) * level, np.float32(1)]
    quantized = ops.fake_quantize(values, *bounds, *bounds, 256)
    integers = ops.convert(ops.constant(weight.astype(np.int8)), ov.Type.f32)
    steps = ops.constant(np.full((groups, outputs, 1, 1), level))
    product = ops.group_convolution(quantized, ops.multiply(integers, steps), [1], [padding], [padding], [1])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = ov.compile_model(ov.Model([product], [values], "grouped"), "CPU", settings)(audio)[0][0]
    return bool(np.abs(found - expected).mean() <= TOLERANCE * np.abs(expected).mean())


def _decomposed(quantizer: ov.Node) -> ov.Output:
    """What ``quantizer`` gives, computed by other operations."""
    values, low, high, low_out, high_out = (source.get_source_output() for source in quantizer.inputs())
    steps = np.float32(quantizer.get_attributes()["levels"] - 1)
    clamped = ops.minimum(ops.maximum(values, low), high)
    level = ops.round(ops.multiply(ops.subtract(clamped, low), ops.divide(steps, ops.subtract(high, low))))
    step_out = ops.divide(ops.subtract(high_out, low_out), steps)
    return ops.add(ops.multiply(level, step_out), low_out).output(0)


def _multiplied(node: ov.Node) -> bool:
    """Whether ``node`` is a multiplication, or a subtraction behind a multiplication."""
    if node.get_type_name() == "Subtract":
        node = node.input_value(0).get_node()
    kind: str = node.get_type_name()
    return kind == "Multiply"
