"""Faster products with the keys of the attention, for OpenVINO.

The exporter writes a transposition of the keys (features before frames) and then the product of queries and keys.
OpenVINO really moves the keys in memory. A product that reads the keys as they are and transposes them itself is
faster, and it gains more for longer audio (benchmarks/operations.py). The numbers are the same.
"""

import openvino as ov
from openvino import opset13 as ops

TURNED = [0, 2, 3, 1]  # (batch, frames, heads, features) -> (batch, heads, features, frames)
PLAIN = [0, 2, 1, 3]  # (batch, frames, heads, features) -> (batch, heads, frames, features)


def fold_key_transpose(model: ov.Model) -> None:
    """Change ``model`` in place: fold the transposition of keys into the products that read them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Transpose":
            continue
        order = node.input_value(1).get_node()
        readers = [place.get_node() for place in node.output(0).get_target_inputs()]
        if order.get_type_name() != "Constant" or order.data.tolist() != TURNED:
            continue
        if not all(_multiplies_with(reader, node) for reader in readers):
            continue
        keys = ops.transpose(node.input_value(0), PLAIN)
        for reader in readers:
            product = ops.matmul(reader.input_value(0), keys, False, True)
            product.set_friendly_name(reader.get_friendly_name())
            reader.output(0).replace(product.output(0))


def _multiplies_with(reader: ov.Node, keys: ov.Node) -> bool:
    """Whether ``reader`` is a product with ``keys`` as its second factor only, and without own transpositions."""
    return (
        reader.get_type_name() == "MatMul"
        and reader.input_value(1).get_node().get_name() == keys.get_name()
        and reader.input_value(0).get_node().get_name() != keys.get_name()
        and not any(reader.get_attributes()[side] for side in ("transpose_a", "transpose_b"))
    )
