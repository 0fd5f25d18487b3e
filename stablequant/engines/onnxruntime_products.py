"""Quantized graphs in the form that ONNX Runtime (1.32) computes fastest.

**Each product has its own quantizer.** ONNX Runtime computes a product of matrices in INT8 only where it alone reads
its quantized input. Where queries, keys and values shared one, all three ran in floating point.

**Convolutions read floating point.** ONNX Runtime has an INT8 convolution only where the output is quantized, too. Here
it is not, so it computes them in floating point in any case: it rounded their input for nothing. Their weights stay
INT8 in the file, and are multiplied by their scales at each call, which takes little.

**Queries times keys** are in floating point too. Between their quantizers and their product lie operations for which
ONNX Runtime has no INT8 kernels, so that the product would be in floating point in any case.
"""

from collections import Counter

import onnx

OTHER_NUMBERS = ("rest", "coarse", "fine")  # further products of a module, see `stablequant.engines.insert_qdq`
MOVING = {"Mul", "Reshape", "Transpose"}
SHARING = ["CommonSubexpressionElimination"]  # ONNX Runtime's optimizer that would make one quantizer of several


def prepare_products(graph: onnx.GraphProto) -> None:
    """Change ``graph`` in place: what its products read, as this module says.

    Where the audio is read as two INT8 numbers, one floating-point convolution replaces both. Convolutions of which
    some channels are carried stay as they are, and so does a graph with other graphs inside.
    """
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return
    _release_convolutions(graph)
    _release_moved(graph)
    _copy_quantizers(graph)
    _remove_unread(graph)


def _release_convolutions(graph: onnx.GraphProto) -> None:
    nodes = {node.name: node for node in graph.node}
    made = _makers(graph)
    for node in graph.node:
        if node.op_type != "Conv" or node.name.rpartition("/")[2] in OTHER_NUMBERS or f"{node.name}/coarse" in nodes:
            continue
        value = made.get(node.input[0])
        if value is None or value.op_type != "DequantizeLinear":
            continue
        node.input[0] = made[value.input[0]].input[0]
        if f"{node.name}/rest" in nodes:
            _replace(graph, nodes[f"{node.name}/sum"].output[0], node.output[0])


def _release_moved(graph: onnx.GraphProto) -> None:
    """Let operations that only move or scale values read them in floating point."""
    made = _makers(graph)
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    for node in graph.node:
        quantizer = made.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantizer is not None and quantizer.op_type == "QuantizeLinear":
            output = node.output[0]
            if readers.get(output, set()) <= MOVING:
                _replace(graph, output, quantizer.input[0])


def _copy_quantizers(graph: onnx.GraphProto) -> None:
    """Give each product of matrices that shares its quantized input with other nodes a copy of the pair."""
    made, readers = _makers(graph), Counter(name for node in graph.node for name in node.input)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        value = made.get(node.input[0]) if node.op_type == "MatMul" else None
        if value is not None and value.op_type == "DequantizeLinear" and readers[node.input[0]] > 1:
            before = ""
            for shared in (made[value.input[0]], value):
                copied = graph.node.add()
                copied.CopyFrom(shared)
                copied.name = copied.output[0] = f"{shared.name}/{node.name}"
                copied.input[0] = before or shared.input[0]
                before = copied.name
            node.input[0] = before
        graph.node.append(node)


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each value, by the value's name."""
    return {output: node for node in graph.node for output in node.output}


def _replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let all nodes that read ``old`` read ``new``."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _remove_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nothing reads, and then such constants."""
    read = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read & set(node.output):
            read |= set(node.input)
            kept.append(node)
    constants = [constant for constant in graph.initializer if constant.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
