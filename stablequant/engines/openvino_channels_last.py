"""Convolutions next to layer norms, and those that read audio, as products over the last axis, for OpenVINO.

A layer norm needs the channels last, a convolution needs them second. So a feature extractor with layer norms
transposes its hidden values before and after each norm. If lengths are dynamic, OpenVINO really moves the values, twice
per norm. This takes about a tenth of the time of an INT8 engine of HuBERT large (benchmarks/operations.py).

A convolution without padding can be written as a product: for each frame, the ``kernel`` vectors that it reads are put
side by side and multiplied by the weights. Then the whole feature extractor keeps the channels last. The numbers are
the same except for the order of summation, and INT8 stays INT8.

The convolution that reads the audio is written as a product in every network. OpenVINO (2026.4.1) makes a kernel for
each new length, and for a convolution as long as the audio this takes longer than a small engine's recognition.
"""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from stablequant.engines.openvino_frames import Key, is_over_time, key_of, padding

ELEMENTWISE = ("Add", "Convert", "FakeQuantize", "Gelu", "Multiply", "Subtract")
TURN = [0, 2, 1]  # moves the channels from second to last, or back


def channels_last(model: ov.Model) -> None:
    """Change ``model`` in place: ``(batch, channels, frames)`` becomes ``(batch, frames, channels)``.

    This saves time in a network with layer norms behind convolutions. In other networks only the convolutions that read
    audio are changed.
    """
    nodes = model.get_ordered_ops()
    everywhere = any(_is_turn(node) and _product_before(node.input_value(0).get_node()) for node in nodes)
    turned: dict[Key, ov.Output] = {}  # output with channels second -> the same with channels last
    weights: dict[Key, ov.Output] = {}
    undone: list[tuple[ov.Output, ov.Output]] = []
    for node in nodes:
        kind = node.get_type_name()
        if _is_turn(node):
            source = node.input_value(0)
            if key_of(source) in turned:
                undone.append((node.output(0), turned[key_of(source)]))
            elif everywhere and _leads_to_product(node):
                turned[key_of(node.output(0))] = source
        elif kind == "Convolution" and _is_plain(node) and (everywhere or _reads_audio(node)):
            values = turned.get(key_of(node.input_value(0)))
            if values is None:
                values = ops.transpose(node.input_value(0), TURN).output(0)
            weight = node.input_value(1)
            if key_of(weight) not in weights:
                weights[key_of(weight)] = _flattened(weight)
            frames = _frames(values, weight.get_shape()[2], node.get_attributes()["strides"][0])
            product = ops.matmul(frames, weights[key_of(weight)], False, True)
            product.set_friendly_name(node.get_friendly_name())
            turned[key_of(node.output(0))] = product.output(0)
        elif any(key_of(source) in turned for source in node.input_values()):
            _follow(node, turned)
    for back, values in undone:
        back.replace(values)
    model.validate_nodes_and_infer_types()


def _is_turn(node: ov.Node) -> bool:
    """Whether ``node`` transposes by `TURN`."""
    if node.get_type_name() != "Transpose":
        return False
    order = node.input_value(1).get_node()
    kind: str = order.get_type_name()
    return kind == "Constant" and bool(order.data.tolist() == TURN)


def _product_before(node: ov.Node) -> bool:
    """Whether ``node`` is a plain convolution, or an addition behind one."""
    while node.get_type_name() == "Add":
        node = node.input_value(0).get_node()
    kind: str = node.get_type_name()
    return kind == "Convolution" and _is_plain(node)


def _leads_to_product(node: ov.Node) -> bool:
    """Whether a plain convolution reads ``node``, directly or through elementwise operations.

    Only then may a quantizer be moved across a transposition. Before a grouped convolution, OpenVINO (2026.4.1) would
    multiply by the factors of wrong channels.
    """
    readers = [place.get_node() for place in node.output(0).get_target_inputs()]
    return any(
        _is_plain(reader)
        if reader.get_type_name() == "Convolution"
        else reader.get_type_name() in ELEMENTWISE and _leads_to_product(reader)
        for reader in readers
    )


def _is_plain(node: ov.Node) -> bool:
    """Whether the convolution ``node`` is over time, without padding and dilation, and with constant weights."""
    if not is_over_time(node) or padding(node) or _weight(node.input_value(1)) is None:
        return False
    settings = node.get_attributes()
    return bool(settings["dilations"][0] == 1 and settings["strides"][0] <= node.input_value(1).get_shape()[2])


def _reads_audio(node: ov.Node) -> bool:
    """Whether the convolution ``node`` reads a single channel."""
    return bool(node.input_value(1).get_partial_shape()[1] == 1)


def _constant(output: ov.Output) -> np.ndarray | None:
    """The values of a constant or of a reshaped constant; None for all other outputs."""
    node = output.get_node()
    if node.get_type_name() == "Reshape" and output.get_partial_shape().is_static:
        node = node.input_value(0).get_node()
    return node.data.reshape(output.get_shape()) if node.get_type_name() == "Constant" else None


def _weight(output: ov.Output) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Weights ``(out, in, kernel)`` as they are stored, and the scales ``(out, 1, 1)`` of INT8 weights.

    None if they are not constant, or stored in another way: with zero points, or scales of another axis.
    """
    node = output.get_node()
    if node.get_type_name() != "Multiply":
        stored = _constant(output)
        return None if stored is None else (stored, None)
    converted = node.input_value(0).get_node()
    if converted.get_type_name() == "Subtract" and _is_zero(converted.input_value(1).get_node()):
        converted = converted.input_value(0).get_node()
    stored = _constant(converted.input_value(0)) if converted.get_type_name() == "Convert" else None
    scales = _constant(node.input_value(1))
    if stored is None or scales is None or not (scales.size == 1 or scales.shape == (len(stored), 1, 1)):
        return None
    return stored, scales


def _is_zero(zero_points: ov.Node) -> bool:
    """Whether ``zero_points``, a constant that may be converted and reshaped, are all 0."""
    while zero_points.get_type_name() in ("Convert", "Reshape"):
        zero_points = zero_points.input_value(0).get_node()
    return bool(zero_points.get_type_name() == "Constant" and not zero_points.data.any())


def _flattened(weight: ov.Output) -> ov.Output:
    """Weights ``(out, in, kernel)`` as ``(out, kernel * in)``, stored in the same type."""
    known = _weight(weight)
    if known is None:
        raise ValueError(f"{weight.get_node().get_friendly_name()} is no constant")
    stored, scales = known
    flat = ops.constant(np.ascontiguousarray(stored.transpose(0, 2, 1).reshape(len(stored), -1)))
    if scales is not None:
        flat = ops.multiply(ops.convert(flat, "f32"), ops.constant(scales.reshape(-1, 1)))
    flat.set_friendly_name(weight.get_node().get_friendly_name())
    return flat.output(0)


def _frames(values: ov.Output, kernel: int, stride: int) -> ov.Output:
    """``values`` ``(batch, length, channels)`` as ``(batch, frames, kernel * channels)``.

    Each frame is the input of one step of the convolution: ``kernel`` vectors side by side.
    """
    channels = values.get_partial_shape()[2].get_length()
    length = ops.gather(ops.shape_of(values), ops.constant([1]), ops.constant(0))
    steps = ops.add(ops.divide(ops.subtract(length, np.int64(kernel)), np.int64(stride)), np.int64(1))
    whole = ops.multiply(steps, np.int64(stride))  # length that all steps together advance

    def part(start: int, step: int) -> ov.Node:
        end = ops.add(whole, np.int64(start))
        return ops.slice(values, ops.constant([start]), end, ops.constant([step]), ops.constant([1]))

    parts = [
        ops.reshape(part(start, 1), ops.constant([0, -1, stride * channels]), True)
        for start in range(0, kernel - stride + 1, stride)
    ]
    parts += [part(tap, stride) for tap in range(kernel - kernel % stride, kernel)]
    return parts[0].output(0) if len(parts) == 1 else ops.concat(parts, 2).output(0)


def _follow(node: ov.Node, turned: dict[Key, ov.Output]) -> None:
    """Make an elementwise ``node`` read values with channels last; its output then also has them last.

    Any other node reads them transposed back.
    """
    others = [place for place in node.inputs() if key_of(place.get_source_output()) not in turned]
    spread = {place.get_index(): _spread(place) for place in others}
    follows = node.get_type_name() in ELEMENTWISE and None not in spread.values()
    for place in node.inputs():
        source = place.get_source_output()
        if follows:
            place.replace_source_output(spread.get(place.get_index()) or turned[key_of(source)])
        elif key_of(source) in turned and not _is_turn(source.get_node()):
            place.replace_source_output(ops.transpose(turned[key_of(source)], TURN).output(0))
    if follows:
        node.validate_and_infer_types()
        turned[key_of(node.output(0))] = node.output(0)


def _spread(place: ov.Input) -> ov.Output | None:
    """The input at ``place`` for channels last: a single number as it is, a constant transposed; None if impossible."""
    source = place.get_source_output()
    shape = source.get_partial_shape()
    if shape.is_static and np.prod(shape.to_shape(), dtype=int) == 1 and len(shape) < 2:
        return source
    values = _constant(source)
    if values is None or values.ndim > 3:
        return None
    turned = values.reshape((1,) * (3 - values.ndim) + values.shape).transpose(TURN)
    return ops.constant(np.ascontiguousarray(turned)).output(0)
