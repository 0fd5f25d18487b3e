"""Quantize/dequantize pairs and INT8 weights, placed into the fp32 graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from stablequant.graph import input_of, load_graph, save_graph
from stablequant.layers import QuantizedModule
from stablequant.quantization import quantize_weight


def insert_qdq(source: Path, modules: list[QuantizedModule], scales: Mapping[str, float], destination: Path) -> None:
    """Quantize the nodes named like ``modules`` in the graph ``source``; ``scales`` by activation name.

    Inputs pass a QuantizeLinear/DequantizeLinear pair per tensor (shared where nodes read the same tensor), weights
    become INT8 with one scale per output channel and a DequantizeLinear. All zero points are 0.
    """
    model = load_graph(source)
    graph = model.graph
    nodes = {node.name: node for node in graph}
    pairs: dict[tuple[ir.Value, float], ir.Value] = {}
    zero = _constant(graph, "int8_zero", np.zeros((), dtype=np.int8))
    for module in modules:
        node = nodes[module.module]
        _quantize_weight(graph, node)
        tensor, scale = input_of(node, 0), scales[module.activation]
        if (tensor, scale) not in pairs:
            step = _constant(graph, f"{module.activation}/scale", np.array(scale, dtype=np.float32))
            quantized = _insert(graph, node, "QuantizeLinear", [tensor, step, zero], f"{module.activation}/q")
            pairs[tensor, scale] = _insert(
                graph, node, "DequantizeLinear", [quantized, step, zero], f"{module.activation}/dq"
            )
        node.replace_input_with(0, pairs[tensor, scale])
    save_graph(model, destination)


def _quantize_weight(graph: ir.Graph, node: ir.Node) -> None:
    value = input_of(node, 1)
    if value.const_value is None or value.name is None or len(value.uses()) != 1:
        raise ValueError(f"the weight of {node.name} is not its own constant")
    weight = value.const_value.numpy()
    outputs_last = node.op_type == "MatMul"  # (inputs, outputs); a convolution's is (outputs, inputs, kernel)
    levels, scales = quantize_weight(weight.T if outputs_last else weight)
    levels = np.ascontiguousarray(levels.T if outputs_last else levels)
    integers = _constant(graph, f"{node.name}/weight", levels)
    steps = _constant(graph, f"{node.name}/weight_scale", scales)
    axis = ir.AttrInt64("axis", 1 if outputs_last else 0)
    node.replace_input_with(
        1, _insert(graph, node, "DequantizeLinear", [integers, steps], f"{node.name}/weight_dq", [axis])
    )
    del graph.initializers[value.name]


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
    node = ir.Node("", operation, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph.insert_before(before, node)
    return node.outputs[0]
