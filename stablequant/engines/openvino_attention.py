"""Faster attention for OpenVINO.

**Keys as they are.** The exporter writes a transposition of the keys (features before frames) and then the product of
queries and keys. OpenVINO really moves the keys in memory. A product that reads the keys as they are and transposes
them itself is faster, and it gains more for longer audio (benchmarks/operations.py). The numbers are the same.

**Keys and values that grow.** A decoder with a memory reads what it kept, appends the new token's keys and values, and
multiplies: ten operations and more for each layer and token. Written as one operation, OpenVINO appends in place. The
numbers are the same if it keeps them as precisely as it computes (see `KEPT_PRECISION`).
"""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

TURNED = [0, 2, 3, 1]  # (batch, frames, heads, features) -> (batch, heads, features, frames)
PLAIN = [0, 2, 1, 3]  # (batch, frames, heads, features) -> (batch, heads, frames, features)
OVER = [0, 1, 3, 2]  # (batch, heads, positions, features) -> (batch, heads, features, positions)
KEPT_PRECISION = "KV_CACHE_PRECISION"  # OpenVINO's setting; without it keys and values may be rounded to 8 bits


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


def fuse_growing_attention(model: ov.Model) -> None:
    """Change ``model`` in place: where keys and values grow with each step, attention becomes one operation.

    Programs that load the model without a `KEPT_PRECISION` of their own find one in it: half precision.
    """
    fused = [_fuse(node) for node in model.get_ordered_ops() if node.get_type_name() == "Softmax"]
    if any(fused):
        model.set_rt_info("f16", ["runtime_options", KEPT_PRECISION])


def _fuse(softmax: ov.Node) -> bool:
    """Make the attention around ``softmax`` one operation; return whether it was over keys and values that grow."""
    readers = [place.get_node() for place in softmax.output(0).get_target_inputs()]
    scores, mask = softmax.input_value(0).get_node(), ops.constant(np.float32(0)).output(0)
    if scores.get_type_name() == "Add":
        scores, mask = scores.input_value(0).get_node(), scores.input_value(1)
    if scores.get_type_name() != "MatMul" or [reader.get_type_name() for reader in readers] != ["MatMul"]:
        return False
    rank = len(softmax.output(0).get_partial_shape())
    turned = scores.get_attributes()["transpose_a"] or any(readers[0].get_attributes().values())
    if turned or softmax.get_attributes()["axis"] % rank != rank - 1:
        return False
    keys, values = _keys_of(scores), readers[0].input_value(1)
    if keys is None or not all(_grows(tensor.get_node()) for tensor in (keys, values)):
        return False
    scaled = ops.constant(np.float32(1))  # the queries are scaled already
    fused = ops.scaled_dot_product_attention(scores.input_value(0), keys, values, mask, scaled)
    fused.set_friendly_name(readers[0].get_friendly_name())
    readers[0].output(0).replace(fused.output(0))
    return True


def _keys_of(product: ov.Node) -> ov.Output | None:
    """The keys ``(batch, heads, positions, features)`` that a product with queries reads; None if it reads others."""
    keys = product.input_value(1)
    if product.get_attributes()["transpose_b"]:
        return keys
    over = keys.get_node()
    if over.get_type_name() != "Transpose" or over.input_value(1).get_node().get_type_name() != "Constant":
        return None
    return over.input_value(0) if over.input_value(1).get_node().data.tolist() == OVER else None


def _grows(node: ov.Node) -> bool:
    """Whether ``node`` appends to what a memory holds."""
    if node.get_type_name() != "Concat":
        return False
    kept = node.input_value(0).get_node()
    return [kept.get_type_name(), kept.input_value(0).get_node().get_type_name()] == ["Gather", "ReadValue"]
