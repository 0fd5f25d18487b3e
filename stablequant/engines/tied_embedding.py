"""One INT8 table for an embedding and the product whose weight it is.

Many decoders write with the table that they read with: the weight of the last product is the embedding of tokens. A
graph holds both. Of a small model this table is a large part of all weights, and an embedding that stays in floating
point takes more space than all INT8 weights together. After quantization the embedding reads the product's INT8 weight:
the levels of its tokens, times the scale of each token.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from stablequant.storage.onnx_graph import add_constant, input_of, insert_node

LEVELS = "/embedding/levels"  # how the names of the nodes end that read an INT8 table


def tied_embeddings(graph: ir.Graph, products: Sequence[ir.Node]) -> dict[str, ir.Node]:
    """The Gather nodes that read a table ``(classes, width)`` equal to the weight of a MatMul, by the MatMul's name."""
    gathers = [node for node in graph if node.op_type == "Gather" and not node.attributes.get_int("axis", 0)]
    tables = [(node, table) for node in gathers if (table := _constant_of(node, 0)) is not None and table.ndim == 2]
    found = {}
    for product in products:
        weight = _constant_of(product, 1) if product.op_type == "MatMul" else None
        for gather, table in tables:
            if weight is not None and table.shape == weight.T.shape and np.array_equal(table, weight.T):
                found[str(product.name)] = gather
    return found


def share_table(graph: ir.Graph, gather: ir.Node, product: ir.Node, channel_scales: np.ndarray | None) -> None:
    """Replace ``gather`` by one that reads the INT8 weight of ``product``.

    ``channel_scales`` ``(width,)`` are those that the weight was multiplied by; None if it was not.
    """
    dequantize = input_of(product, 1).producer()
    if dequantize is None:
        raise ValueError(f"the weight of {product.name} is not quantized")
    levels, scales = input_of(dequantize, 0), input_of(dequantize, 1)  # (width, classes), (classes,)
    table, tokens = input_of(gather, 0), input_of(gather, 1)
    name = f"{product.name}/embedding"

    def insert(operation: str, inputs: Sequence[ir.Value], part: str, *attributes: ir.Attr) -> ir.Value:
        return insert_node(graph, gather, operation, inputs, f"{name}/{part}", attributes)

    columns = insert("Gather", [levels, tokens], "levels", ir.AttrInt64("axis", 1))  # (width, batch, tokens)
    numbers = insert("Cast", [columns], "numbers", ir.AttrInt64("to", ir.DataType.FLOAT))
    rows = insert("Transpose", [numbers], "rows", ir.AttrInt64s("perm", [1, 2, 0]))
    last = add_constant(graph, f"{name}/last", np.array([-1], dtype=np.int64))
    steps = insert("Unsqueeze", [insert("Gather", [scales, tokens], "scales"), last], "steps")
    values = insert("Mul", [rows, steps], "values")
    if channel_scales is not None:
        values = insert("Mul", [values, add_constant(graph, f"{name}/factor", 1 / channel_scales)], "unscaled")
    old = gather.outputs[0]
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, values)
    graph.remove(gather, safe=True)
    if not table.uses() and table.name is not None:
        del graph.initializers[table.name]


def float_tables(graph: ir.Graph) -> bool:
    """Undo `share_table`: embeddings read a table in float32 with the same values. Whether there was one.

    TensorRT takes an INT8 constant only in front of DequantizeLinear.
    """
    gathers = [node for node in graph if str(node.name).endswith(LEVELS)]
    for gather in gathers:
        _read_float_table(graph, gather, str(gather.name).removesuffix("/levels"))
    return bool(gathers)


def _read_float_table(graph: ir.Graph, gather: ir.Node, name: str) -> None:
    """Replace the nodes of `share_table`, whose names begin with ``name``, by one Gather."""
    own = {node.name: node for node in graph if str(node.name).startswith(f"{name}/")}
    last = own.get(f"{name}/unscaled", own[f"{name}/values"])
    levels, scales = _constant_of(gather, 0), _constant_of(own[f"{name}/scales"], 0)
    factor = _constant_of(last, 1) if last.name == f"{name}/unscaled" else np.float32(1)
    if levels is None or scales is None or factor is None:
        raise ValueError(f"the table of {name} is not a constant")
    table = add_constant(graph, f"{name}/table", levels.T.astype(np.float32) * scales[:, None] * factor)
    rows = insert_node(graph, gather, "Gather", [table, input_of(gather, 1)], f"{name}/gather")
    for use in list(last.outputs[0].uses()):
        use.node.replace_input_with(use.idx, rows)
    graph.remove(own.values(), safe=True)


def _constant_of(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index]
    return None if value is None or value.const_value is None else value.const_value.numpy()
