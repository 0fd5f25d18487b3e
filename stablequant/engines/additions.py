"""Add a constant or another product to the output of a node, in its bias where it has one."""

import numpy as np
import onnx_ir as ir

from stablequant.storage.onnx_graph import add_constant, input_of


def outputs_last(node: ir.Node) -> bool:
    """Whether the weight is ``(inputs, outputs)``; a convolution's is ``(outputs, inputs, kernel)``."""
    return node.op_type == "MatMul"


def add_to_bias(graph: ir.Graph, node: ir.Node, amount: np.ndarray) -> None:
    """Add ``amount`` ``(outputs,)`` to the output of ``node``, in its bias if it has one."""
    reader, place = _bias_of(node)
    if reader is None:
        add_behind(graph, node, add_constant(graph, f"{node.name}/bias", amount.astype(np.float32)), "sum")
        return
    old = reader.inputs[place] if place < len(reader.inputs) else None
    if old is not None:  # other nodes may share this constant, so it is replaced and not changed
        if old.const_value is None:
            raise ValueError(f"the bias of {node.name} is not a constant")
        amount = amount + old.const_value.numpy()
    else:
        reader.resize_inputs(place + 1)
    reader.replace_input_with(place, add_constant(graph, f"{node.name}/bias", amount.astype(np.float32)))
    if old is not None and old.name is not None and not old.uses():
        del graph.initializers[old.name]


def _bias_of(node: ir.Node) -> tuple[ir.Node | None, int]:
    """The node that adds the bias of ``node`` (itself or an addition behind it), and the index of the bias input.

    The node is None if ``node`` has no bias. An addition does not count as one if the product is read without it, too.
    """
    if not outputs_last(node):
        return node, 2
    if node.outputs[0].is_graph_output():
        return None, 0
    uses = node.outputs[0].uses()
    for use in uses:
        if len(uses) == 1 and use.node.op_type == "Add" and input_of(use.node, 1 - use.idx).is_initializer():
            return use.node, 1 - use.idx
    return None, 0


def addition_of_bias(node: ir.Node) -> ir.Node | None:
    """The addition behind ``node`` that adds its bias; None if there is none."""
    reader, _ = _bias_of(node)
    return None if reader is node else reader


def add_behind(graph: ir.Graph, node: ir.Node, amount: ir.Value, label: str) -> None:
    """Add ``amount`` to the output of ``node`` with a new node. If it was an output of the graph, the sum is."""
    old = node.outputs[0]
    uses = list(old.uses())
    addition = ir.Node("", "Add", [old, amount], name=f"{node.name}/{label}")
    total = addition.outputs[0]
    total.name, total.type, total.shape = addition.name, old.type, old.shape
    graph.insert_after(node, addition)
    for use in uses:
        use.node.replace_input_with(use.idx, total)
    for place, output in enumerate(graph.outputs):
        if output is old:
            total.name, old.name = old.name, f"{node.name}/product"  # its name stays that of the graph's output
            graph.outputs[place] = total
