"""Constants that OpenVINO's files would hold twice, or wider than they are."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops

LEAST = 4096  # values of a constant that is worth it


def share_tables(model: ov.Model) -> None:
    """Change ``model`` in place: a product whose weight is the transposed table of an embedding reads the table.

    The exporter writes both: `stablequant.engines.tied_embedding` does the same for INT8 weights.
    """
    nodes = model.get_ordered_ops()
    gathered = [node.input_value(0).get_node() for node in nodes if node.get_type_name() == "Gather"]
    tables = [node for node in gathered if _is_float_table(node)]
    for product in nodes:
        if product.get_type_name() != "MatMul" or any(product.get_attributes().values()):  # transposed already
            continue
        weight = product.input_value(1).get_node()
        if not _is_float_table(weight):
            continue
        for table in tables:
            if list(table.shape) == list(weight.shape)[::-1] and np.array_equal(table.data, weight.data.T):
                shared = ops.matmul(product.input_value(0), table, False, True)
                shared.set_friendly_name(product.get_friendly_name())
                product.output(0).replace(shared.output(0))
                break


def halve_constants(model: ov.Model) -> None:
    """Change ``model`` in place: what half precision holds exactly is stored in it. No number changes.

    Published checkpoints are often in half precision. OpenVINO widens such constants when it loads the network.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32 or node.data.size < LEAST:
            continue
        with np.errstate(over="ignore"):
            half = node.data.astype(np.float16)
        if np.array_equal(half.astype(np.float32), node.data):
            narrow = ops.constant(half)
            narrow.set_friendly_name(node.get_friendly_name())
            wide = ops.convert(narrow, ov.Type.f32)
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(wide.output(0))


def _is_float_table(node: ov.Node) -> bool:
    return (
        node.get_type_name() == "Constant"
        and node.get_element_type() == ov.Type.f32
        and len(node.shape) == 2
        and node.data.size >= LEAST
    )
