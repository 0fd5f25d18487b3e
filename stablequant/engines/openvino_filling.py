"""What fills the memory of a decoder before its first step, see `stablequant.engines.openvino_memory`.

OpenVINO computes at the first step only what leads to one kept tensor and to nothing else. Keys and values read the
same quantized encoder output, so OpenVINO (2026.4.1) would quantize all of it again for each token.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# Powers of 2 round nothing. Half precision, in which GPUs compute, holds what is multiplied by these.
FACTORS = [2.0**power for power in (0, *range(1, 9), *range(-8, 0))]
# How the operations between a quantizer and the product that reads its integers are written once more.
COPIES: dict[str, Callable[[ov.Node, ov.Node], ov.Node]] = {
    "Convert": lambda values, node: ops.convert(values, node.get_element_type()),
    "Subtract": lambda values, node: ops.subtract(values, node.input_value(1)),
    "Multiply": lambda values, node: ops.multiply(values, node.input_value(1)),
}


def filling(model: ov.Model) -> ov.Model | None:
    """What fills the memory of a network, as a network of its own; None without a memory.

    OpenVINO hides these operations inside the nodes that read the memory.
    """
    results = [ops.result(value) for value in _filled(model)]
    return ov.Model(results, model.get_parameters(), "filling") if results else None


def quantize_once(model: ov.Model) -> None:
    """Change ``model`` in place: what fills each kept tensor has a quantizer of its own. The numbers are the same.

    OpenVINO makes one of two quantizers that are alike, also of different layers. So those that are alike quantize
    multiples of the values, to as many times the range. If there are more than `FACTORS`, the rest is one quantizer.
    Only values with channel scales are treated so, since these take the factor; OpenVINO sees through any other.
    """
    above = _above(_filled(model))
    alike: Counter[tuple[object, ...]] = Counter()
    for quantizer in [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]:
        if quantizer.get_name() not in above or not _has_scales(quantizer.input_value(0)):
            continue
        behind: list[ov.Node] = []
        readers = list(quantizer.output(0).get_target_inputs())
        while len(readers) == 1 and readers[0].get_node().get_type_name() in COPIES:
            behind.append(readers[0].get_node())
            readers = list(behind[-1].output(0).get_target_inputs())
        key = _numbers(quantizer)
        for place in readers:
            number = alike[key]
            if place.get_node().get_name() not in above or number == len(FACTORS):
                continue
            alike[key] += 1
            if number:
                copied = _quantizer_of_multiple(quantizer, np.float32(FACTORS[number]))
                for node in behind:
                    copied = COPIES[node.get_type_name()](copied, node)
                place.replace_source_output(copied.output(0))


def _numbers(node: ov.Node) -> tuple[object, ...]:
    """What tells a quantizer from others that OpenVINO would not make one with it."""
    kind: str = node.get_type_name()
    if kind == "Constant":
        return (node.data.tobytes(),)
    if kind not in ("FakeQuantize", "Multiply", "Subtract"):
        return (node.get_name(),)
    return kind, *(_numbers(node.input_value(place).get_node()) for place in range(node.get_input_size()))


def _filled(model: ov.Model) -> list[ov.Output]:
    """What the memory holds before the first step, where that is computed."""
    reads = [node for node in model.get_ordered_ops() if node.get_type_name() == "ReadValue"]
    return [node.input_value(0) for node in reads if node.get_input_size()]


def _above(values: list[ov.Output]) -> set[str]:
    """Names of the nodes from which ``values`` are computed."""
    found: set[str] = set()
    rest = [value.get_node() for value in values]
    while rest:
        node = rest.pop()
        if node.get_name() not in found:
            found.add(node.get_name())
            rest += [node.input_value(place).get_node() for place in range(node.get_input_size())]
    return found


def _quantizer_of_multiple(quantizer: ov.Node, factor: np.float32) -> ov.Node:
    """A quantizer that reads ``factor`` times what ``quantizer`` reads, and gives the same integers."""
    values, low, high, *given = (quantizer.input_value(place) for place in range(quantizer.get_input_size()))
    ends = (ops.constant(end.get_node().data * factor) for end in (low, high))
    return ops.fake_quantize(_multiplied(values, factor), *ends, *given, quantizer.get_attributes()["levels"])


def _has_scales(values: ov.Output) -> bool:
    """Whether ``values`` are a product with a constant by channel, perhaps less a constant."""
    node = values.get_node()
    if node.get_type_name() not in ("Multiply", "Subtract"):
        return False
    if node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    return node.get_type_name() == "Multiply" or _has_scales(node.input_value(0))


def _multiplied(values: ov.Output, factor: np.float32) -> ov.Node:
    """``values``, which have scales, times ``factor``."""
    node = values.get_node()
    first, constant = node.input_value(0), ops.constant(node.input_value(1).get_node().data * factor)
    if node.get_type_name() == "Multiply":
        return ops.multiply(first, constant)
    return ops.subtract(_multiplied(first, factor), constant)
