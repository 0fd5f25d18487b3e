"""Insert quantize/dequantize (QDQ) pairs and INT8 weights into the fp32 graphs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from stablequant.engines.tied_embedding import share_table, tied_embeddings
from stablequant.quantization.channel_scales import equalised_weight
from stablequant.quantization.int8 import Range, dequantized, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.recognisers.family import QuantizedModule
from stablequant.storage.onnx_graph import input_of, load_graph, save_graph


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
    An embedding whose table is the weight of a module reads the module's INT8 weight.

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
    pairs: dict[tuple[ir.Value, str], ir.Value] = {}
    zero = _constant(graph, "int8_zero", np.zeros((), dtype=np.int8))
    tied = tied_embeddings(graph, [node for _, node in modules])
    for module, node in modules:
        chosen, factors = ranges[module.activation], channel_scales.get(module.activation)
        weight = _quantize_weight(graph, node, factors, rounded.get(module.module))
        if chosen.centre:
            _add_to_bias(graph, node, chosen.centre * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.float64))
        tensor = input_of(node, 0)
        if (tensor, module.activation) not in pairs:
            pairs[tensor, module.activation] = _quantize_input(graph, node, module.activation, chosen, factors, zero)
        node.replace_input_with(0, pairs[tensor, module.activation])
        if chosen.split:
            _multiply_the_rest(graph, node, module.activation, chosen, zero)
        if node.name in tied:
            share_table(graph, tied[node.name], node, factors)


def _quantize_input(
    graph: ir.Graph, node: ir.Node, name: str, chosen: Range, channel_scales: np.ndarray | None, zero: ir.Value
) -> ir.Value:
    """The node's input after preparation (channel scales, centre) and the QDQ pair."""
    value = input_of(node, 0)
    if channel_scales is not None:
        factors = 1 / channel_scales
        factor = _constant(graph, f"{name}/factor", factors if _outputs_last(node) else factors[:, None])
        value = _insert(graph, node, "Mul", [value, factor], f"{name}/equalised")
    if chosen.centre:
        centre = _constant(graph, f"{name}/centre", np.array(chosen.centre, dtype=np.float32))
        value = _insert(graph, node, "Sub", [value, centre], f"{name}/centred")
    return _insert_pair(graph, node, value, name, chosen.scale, zero)


def _insert_pair(
    graph: ir.Graph, before: ir.Node, value: ir.Value, name: str, scale: float, zero: ir.Value
) -> ir.Value:
    step = _constant(graph, f"{name}/scale", np.array(scale, dtype=np.float32))
    quantized = _insert(graph, before, "QuantizeLinear", [value, step, zero], f"{name}/q")
    return _insert(graph, before, "DequantizeLinear", [quantized, step, zero], f"{name}/dq")


def _source(value: ir.Value) -> ir.Value:
    """The first input of the node that computes ``value``."""
    producer = value.producer()
    if producer is None:
        raise ValueError(f"{value.name} is not computed")
    return input_of(producer, 0)


def _multiply_the_rest(graph: ir.Graph, node: ir.Node, name: str, chosen: Range, zero: ir.Value) -> None:
    """Multiply the rounding error of the node's input by the same weight, in INT8, and add this to its output.

    The second product has its own copy of the weight: ONNX Runtime (1.32) changes the weight of a convolution in place
    when it loads the graph, and crashes if another convolution reads it.
    """
    rounded = input_of(node, 0)
    exact = _source(_source(rounded))
    rest = _insert(graph, node, "Sub", [exact, rounded], f"{name}/left")
    pair = _insert_pair(graph, node, rest, f"{name}/rest", chosen.rest_scale, zero)
    attributes = list(node.attributes.values())
    weight = _copied_weight(graph, node)
    product = _insert(graph, node, node.op_type, [pair, weight], f"{node.name}/rest", attributes)
    _add_behind(graph, node, product)


def _copied_weight(graph: ir.Graph, node: ir.Node) -> ir.Value:
    """A copy of the node's INT8 weight, dequantized by the same scales."""
    dequantize = input_of(node, 1).producer()
    if dequantize is None:
        raise ValueError(f"the weight of {node.name} is not quantized")
    stored, steps, zeros = (input_of(dequantize, place) for place in range(3))
    if stored.const_value is None or zeros.const_value is None:
        raise ValueError(f"the weight of {node.name} is not a constant")
    weight = _constant(graph, f"{node.name}/rest/weight", stored.const_value.numpy())
    zero = _constant(graph, f"{node.name}/rest/weight_zero", zeros.const_value.numpy())
    attributes = list(dequantize.attributes.values())
    return _insert(graph, node, "DequantizeLinear", [weight, steps, zero], f"{node.name}/rest/weight_dq", attributes)


def _outputs_last(node: ir.Node) -> bool:
    """Whether the weight is ``(inputs, outputs)``; a convolution's is ``(outputs, inputs, kernel)``."""
    return node.op_type == "MatMul"


def _quantize_weight(
    graph: ir.Graph, node: ir.Node, channel_scales: np.ndarray | None, rounded: RoundedWeight | None
) -> np.ndarray:
    """Make the node's weight INT8; return the dequantized weight, float32 ``(outputs, ...)``."""
    value = input_of(node, 1)
    if value.const_value is None or value.name is None or len(value.uses()) != 1:
        raise ValueError(f"the weight of {node.name} is not its own constant")
    outputs_last = _outputs_last(node)
    if rounded is None:
        weight = value.const_value.numpy()
        if outputs_last:
            weight = weight.T
        if channel_scales is not None:
            weight = equalised_weight(weight, channel_scales, node.attributes.get_int("group", 1))
        rounded = quantize_weight(weight)
    levels, scales = rounded
    if (levels.T if outputs_last else levels).shape != value.const_value.shape.numpy():
        raise ValueError(f"the INT8 weight of {node.name} has another shape than the graph's")
    integers = _constant(graph, f"{node.name}/weight", np.ascontiguousarray(levels.T if outputs_last else levels))
    steps = _constant(graph, f"{node.name}/weight_scale", scales)
    zeros = _constant(graph, f"{node.name}/weight_zero", np.zeros(len(scales), dtype=np.int8))
    axis = ir.AttrInt64("axis", 1 if outputs_last else 0)
    node.replace_input_with(
        1, _insert(graph, node, "DequantizeLinear", [integers, steps, zeros], f"{node.name}/weight_dq", [axis])
    )
    del graph.initializers[value.name]
    return dequantized(levels, scales)


def _add_to_bias(graph: ir.Graph, node: ir.Node, amount: np.ndarray) -> None:
    """Add ``amount`` ``(outputs,)`` to the output of ``node``, in its bias if it has one."""
    reader, place = _bias_of(node)
    if reader is None:
        _add_behind(graph, node, _constant(graph, f"{node.name}/bias", amount.astype(np.float32)))
        return
    old = reader.inputs[place] if place < len(reader.inputs) else None
    if old is not None:  # other nodes may share this constant, so it is replaced and not changed
        if old.const_value is None:
            raise ValueError(f"the bias of {node.name} is not a constant")
        amount = amount + old.const_value.numpy()
    else:
        reader.resize_inputs(place + 1)
    reader.replace_input_with(place, _constant(graph, f"{node.name}/bias", amount.astype(np.float32)))
    if old is not None and old.name is not None and not old.uses():
        del graph.initializers[old.name]


def _bias_of(node: ir.Node) -> tuple[ir.Node | None, int]:
    """The node that adds the bias of ``node`` (itself or an addition behind it), and the index of the bias input.

    The node is None if ``node`` has no bias. An addition does not count as one if the product is read without it, too.
    """
    if not _outputs_last(node):
        return node, 2
    if node.outputs[0].is_graph_output():
        return None, 0
    uses = node.outputs[0].uses()
    for use in uses:
        if len(uses) == 1 and use.node.op_type == "Add" and input_of(use.node, 1 - use.idx).is_initializer():
            return use.node, 1 - use.idx
    return None, 0


def _add_behind(graph: ir.Graph, node: ir.Node, amount: ir.Value) -> None:
    """Add ``amount`` to the output of ``node`` with a new node. If it was an output of the graph, the sum is."""
    old = node.outputs[0]
    uses = list(old.uses())
    addition = ir.Node("", "Add", [old, amount], name=f"{node.name}/sum")
    total = addition.outputs[0]
    total.name, total.type, total.shape = addition.name, old.type, old.shape
    graph.insert_after(node, addition)
    for use in uses:
        use.node.replace_input_with(use.idx, total)
    for place, output in enumerate(graph.outputs):
        if output is old:
            total.name, old.name = old.name, f"{node.name}/product"  # its name stays that of the graph's output
            graph.outputs[place] = total


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def _insert(
    graph: ir.Graph,
    before: ir.Node,
    operation: str,
    inputs: list[ir.Value],
    name: str,
    attributes: Sequence[ir.Attr] = (),
) -> ir.Value:
    """Insert a node for ``operation`` before the node ``before``; return its output."""
    node = ir.Node("", operation, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph.insert_before(before, node)
    return node.outputs[0]
