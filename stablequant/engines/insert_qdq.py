"""Insert quantize/dequantize (QDQ) pairs and INT8 weights into the fp32 graphs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from stablequant.engines.additions import add_behind, add_to_bias, addition_of_bias, outputs_last
from stablequant.engines.tied_embedding import share_table, tied_embeddings
from stablequant.quantization.channel_scales import equalised_weight
from stablequant.quantization.int8 import Carried, Range, dequantized, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.onnx_graph import add_constant, input_of, insert_node, load_graph, save_graph


def insert_qdq(
    sources: Mapping[str, Path],
    modules: Sequence[QuantizedModule],
    ranges: Mapping[str, Range],
    channel_scales: Mapping[str, np.ndarray],
    destinations: Mapping[str, Path],
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> None:
    """Quantize ``modules`` in the graphs ``sources`` and write the results to ``destinations``, by graph name.

    Nodes are found by the names of the modules. Each quantized input gets a QuantizeLinear/DequantizeLinear pair; nodes
    that read the same tensor share one pair. Each weight becomes INT8, with one scale per output channel and a
    DequantizeLinear. All zero points are 0. Those of the weights are written down, too: without them ONNX Runtime
    (1.32) cannot load the graph with ``session.x64quantprecision``. A range with another centre than 0 becomes a
    subtraction before the pair and a term in the bias. Channel scales become a factor before the pair and a factor in
    the weights. If a range is split, a second node with the same weight multiplies the rounding error of the input.
    Carried channels are zeros in the input of the node itself; two more nodes multiply them, as two INT8 numbers, by
    their part of the weight. An embedding whose table is the weight of a module reads the module's INT8 weight. An
    output that has a range gets a pair, behind the addition of the bias.

    Each further product has its own copy of its weight: ONNX Runtime (1.32) changes the weight of a convolution in
    place when it loads the graph, and crashes if another convolution reads it.

    Parameters
    ----------
    ranges: by activation name
    channel_scales: float32 ``(channels,)`` by activation name
    rounded: INT8 weights by module name; other weights are rounded to the nearest level

    Raises
    ------
    ValueError
        when no node, or no suitable node, computes a module.
    """
    missing = {m.module for m in modules}
    for name, source in sources.items():
        model = load_graph(source)
        nodes = {node.name: node for node in model.graph}
        inside = [(m, nodes[m.module]) for m in modules if m.module in nodes]
        _quantize(model.graph, inside, ranges, channel_scales, rounded or {})
        missing -= {m.module for m, _ in inside}
        save_graph(model, destinations[name])
    if missing:
        raise ValueError(f"no node computes {sorted(missing)}")


def _quantize(
    graph: ir.Graph,
    modules: Sequence[tuple[QuantizedModule, ir.Node]],
    ranges: Mapping[str, Range],
    channel_scales: Mapping[str, np.ndarray],
    rounded: Mapping[str, RoundedWeight],
) -> None:
    """Quantize nodes of one graph, given with their modules."""
    inputs: dict[tuple[ir.Value, str], _Input] = {}
    zero = add_constant(graph, "int8_zero", np.zeros((), dtype=np.int8))
    tied = tied_embeddings(graph, [node for _, node in modules])
    for module, node in modules:
        name, chosen, factors = module.activation, ranges[module.activation], channel_scales.get(module.activation)
        levels, scales = _quantize_weight(graph, node, factors, rounded.get(module.module))
        if module.output_activation in ranges:
            _quantize_output(graph, node, module.output_activation, ranges[module.output_activation], zero)
        if chosen.centre:
            weight = dequantized(levels, scales)
            if chosen.carried:
                weight = np.delete(weight, chosen.carried.channels, axis=1)
            add_to_bias(graph, node, chosen.centre * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.float64))
        tensor = input_of(node, 0)
        if (tensor, name) not in inputs:
            inputs[tensor, name] = _quantize_input(graph, node, name, chosen, factors, levels.shape[1], zero)
        numbers, carried = inputs[tensor, name]
        node.replace_input_with(0, numbers[0])
        if chosen.split:
            copied = _insert_weight(graph, node, levels, scales, "/rest")
            add_behind(graph, node, _product(graph, node, numbers[1], copied, "rest"), "sum")
        if chosen.carried:
            _multiply_carried(graph, node, carried, chosen.carried, levels, scales)
        if node.name in tied:
            share_table(graph, tied[node.name], node, factors)


class _Input(NamedTuple):
    """The input of a node after the QDQ pairs: one or two INT8 numbers, and those of the carried channels if any."""

    numbers: Sequence[ir.Value]
    carried: Sequence[ir.Value]


def _quantize_input(
    graph: ir.Graph,
    node: ir.Node,
    name: str,
    chosen: Range,
    channel_scales: np.ndarray | None,
    channels: int,
    zero: ir.Value,
) -> _Input:
    """The node's input, which has ``channels`` if it has one group, after preparation and the QDQ pairs."""
    source = value = input_of(node, 0)
    factors: np.ndarray | None = None if channel_scales is None else 1 / channel_scales
    centre = np.array(chosen.centre, dtype=np.float32)
    carried: Sequence[ir.Value] = []
    if chosen.carried:
        massive = list(chosen.carried.channels)
        own = None if factors is None else factors[massive]
        carried = _carry(graph, node, source, name, chosen.carried, own, zero)
        others = np.ones(channels, dtype=np.float32)
        others[massive] = 0
        factors = others if factors is None else factors * others
        centre = centre * (others if outputs_last(node) else others[:, None])
    if factors is not None:
        factor = add_constant(graph, f"{name}/factor", factors if outputs_last(node) else factors[:, None])
        value = insert_node(graph, node, "Mul", [value, factor], f"{name}/equalised")
    if chosen.centre:
        middle = add_constant(graph, f"{name}/centre", centre)
        value = insert_node(graph, node, "Sub", [value, middle], f"{name}/centred")
    return _Input(_insert_numbers(graph, node, value, name, chosen, zero), carried)


def _carry(
    graph: ir.Graph,
    node: ir.Node,
    source: ir.Value,
    name: str,
    carried: Carried,
    factors: np.ndarray | None,
    zero: ir.Value,
) -> Sequence[ir.Value]:
    """The carried channels of ``source`` times ``factors`` ``(carried channels,)``, as two INT8 numbers."""
    if node.attributes.get_int("group", 1) != 1:
        raise ValueError(f"{node.name} has several groups of channels, so none can be carried")
    places = add_constant(graph, f"{name}/channels", np.array(carried.channels, dtype=np.int64))
    axis = ir.AttrInt64("axis", -1 if outputs_last(node) else 1)
    value = insert_node(graph, node, "Gather", [source, places], f"{name}/carried", [axis])
    if factors is not None:
        factor = add_constant(graph, f"{name}/carried/factor", factors if outputs_last(node) else factors[:, None])
        value = insert_node(graph, node, "Mul", [value, factor], f"{name}/carried/equalised")
    return _insert_numbers(graph, node, value, f"{name}/carried", carried.range, zero)


def _multiply_carried(
    graph: ir.Graph,
    node: ir.Node,
    numbers: Sequence[ir.Value],
    carried: Carried,
    levels: np.ndarray,
    scales: np.ndarray,
) -> None:
    """Multiply the carried channels by their part of the node's weight, and add the products to the node's output.

    ``numbers`` are the coarse numbers and what they leave. ``levels`` and ``scales`` are the node's whole weight.
    """
    part = levels[:, list(carried.channels)]
    products = []
    for number, label in zip(numbers, ("coarse", "fine"), strict=True):
        weight = _insert_weight(graph, node, part, scales, f"/{label}")
        products.append(_product(graph, node, number, weight, label))
    add_behind(graph, node, insert_node(graph, node, "Add", products, f"{node.name}/carried_products"), "carried_sum")


def _product(graph: ir.Graph, node: ir.Node, value: ir.Value, weight: ir.Value, label: str) -> ir.Value:
    """``value`` multiplied as ``node`` multiplies its input, but by ``weight`` and without the bias."""
    attributes = list(node.attributes.values())
    return insert_node(graph, node, node.op_type, [value, weight], f"{node.name}/{label}", attributes)


def _insert_numbers(
    graph: ir.Graph, before: ir.Node, value: ir.Value, name: str, chosen: Range, zero: ir.Value
) -> Sequence[ir.Value]:
    """``value`` after its QDQ pair; if ``chosen`` is split, also its rounding error after a pair of its own."""
    rounded = _insert_pair(graph, before, value, name, chosen.scale, zero)
    if not chosen.split:
        return [rounded]
    rest = insert_node(graph, before, "Sub", [value, rounded], f"{name}/left")
    return [rounded, _insert_pair(graph, before, rest, f"{name}/rest", chosen.rest_scale, zero)]


def _insert_pair(
    graph: ir.Graph, before: ir.Node, value: ir.Value, name: str, scale: float, zero: ir.Value
) -> ir.Value:
    step = add_constant(graph, f"{name}/scale", np.array(scale, dtype=np.float32))
    quantized = insert_node(graph, before, "QuantizeLinear", [value, step, zero], f"{name}/q")
    return insert_node(graph, before, "DequantizeLinear", [quantized, step, zero], f"{name}/dq")


def _quantize_output(graph: ir.Graph, node: ir.Node, name: str, chosen: Range, zero: ir.Value) -> None:
    """Give the output of ``node``, with its bias, a QDQ pair that all its readers read."""
    behind = addition_of_bias(node) or node
    value = behind.outputs[0]
    uses = list(value.uses())
    if value.is_graph_output() or not uses:
        raise ValueError(f"the output of {node.name} is one of the graph, so it is not quantized")
    first = next(later for later in graph if any(use.node is later for use in uses))
    pair = _insert_pair(graph, first, value, name, chosen.scale, zero)
    for use in uses:
        use.node.replace_input_with(use.idx, pair)


def _quantize_weight(
    graph: ir.Graph, node: ir.Node, channel_scales: np.ndarray | None, rounded: RoundedWeight | None
) -> RoundedWeight:
    """Make the node's weight INT8 and return it, ``(outputs, ...)``."""
    value = input_of(node, 1)
    if value.const_value is None or value.name is None or len(value.uses()) != 1:
        raise ValueError(f"the weight of {node.name} is not its own constant")
    transposed = outputs_last(node)
    if rounded is None:
        weight = value.const_value.numpy()
        if transposed:
            weight = weight.T
        if channel_scales is not None:
            weight = equalised_weight(weight, channel_scales, node.attributes.get_int("group", 1))
        rounded = quantize_weight(weight)
    levels, scales = rounded
    if (levels.T if transposed else levels).shape != value.const_value.shape.numpy():
        raise ValueError(f"the INT8 weight of {node.name} has another shape than the graph's")
    node.replace_input_with(1, _insert_weight(graph, node, levels, scales))
    del graph.initializers[value.name]
    return levels, scales


def _insert_weight(graph: ir.Graph, node: ir.Node, levels: np.ndarray, scales: np.ndarray, label: str = "") -> ir.Value:
    """``levels`` ``(outputs, ...)`` with ``scales`` ``(outputs,)`` as a weight that ``node`` can read.

    ``label`` comes behind the node's name in the names of what is inserted.
    """
    transposed, name = outputs_last(node), f"{node.name}{label}"
    integers = add_constant(graph, f"{name}/weight", np.ascontiguousarray(levels.T if transposed else levels))
    steps = add_constant(graph, f"{name}/weight_scale", scales)
    zeros = add_constant(graph, f"{name}/weight_zero", np.zeros(len(scales), dtype=np.int8))
    axis = ir.AttrInt64("axis", 1 if transposed else 0)
    return insert_node(graph, node, "DequantizeLinear", [integers, steps, zeros], f"{name}/weight_dq", [axis])
