"""ONNX graphs: read and write them, add nodes and constants, name their nodes, remove metadata."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from stablequant.errors import StableQuantError
from stablequant.storage.files import data_beside, replacing

SCOPES = "pkg.torch.onnx.name_scopes"  # in this property torch's exporter writes the modules that a node comes from
OPERATIONS = {"Conv", "MatMul"}
OPSET = 20  # from 21 on, ONNX Runtime (1.32) cannot load a graph in which a quantized value is reshaped
# Weights that fit into one file: protobuf's limit, minus space for the rest. HuBERT extra large exceeds it in fp32.
MAX_PROTOBUF_BYTES = (1 << 31) - (1 << 24)


def load_graph(path: Path) -> ir.Model:
    """The graph in ``path``, with all its weights in memory. Raises `StableQuantError` if it is no ONNX graph."""
    try:
        return ir.external_data.load_to_model(ir.load(path))
    except Exception as error:  # protobuf's own, or whatever onnx_ir finds wrong
        raise StableQuantError(path, f"is not an ONNX graph: {error}", "export it again") from None


def save_graph(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path``. Weights too large for one file go into the file ``{name}.data`` beside it."""
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    beside = data_beside(path)
    beside.unlink(missing_ok=True)
    with replacing(path) as temporary:
        ir.save(model, temporary, external_data=beside.name if weights > MAX_PROTOBUF_BYTES else None)


def input_of(node: ir.Node, index: int) -> ir.Value:
    """Input number ``index`` of ``node``; raise ValueError if there is none."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"node {node.name} has no input {index}")
    return value


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer of ``graph``."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def insert_node(
    graph: ir.Graph,
    before: ir.Node,
    operation: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    attributes: Sequence[ir.Attr] = (),
) -> ir.Value:
    """Insert a node for ``operation`` before the node ``before``; return its output, which has the node's ``name``."""
    node = ir.Node("", operation, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph.insert_before(before, node)
    return node.outputs[0]


def name_nodes(model: ir.Model, modules: set[str]) -> None:
    """Give the product (Conv or MatMul) of each module in ``modules`` the module's path as its name.

    Raises ValueError if a module does not have exactly one product.
    """
    found = set()
    for node in model.graph:
        if node.op_type not in OPERATIONS or not input_of(node, 1).is_initializer():
            continue
        for module in modules & set(_scopes(node)):
            if module in found:
                raise ValueError(f"two nodes compute {module}")
            node.name = module
            found.add(module)
    if found != modules:
        raise ValueError(f"no node computes {sorted(modules - found)}")


def _scopes(node: ir.Node) -> list[str]:
    """Paths of the modules that a node comes from, outermost first, with the checkpoint's names."""
    text = node.metadata_props.get(SCOPES, "")
    return [scope.strip("[]' \"").removeprefix("model.") for scope in text.split(",")]


def strip_metadata(model: ir.Model) -> None:
    """Remove stack traces, source names and inner shapes. They take megabytes, and no engine reads them."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    kept = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if id(value) not in kept:
                value.shape = value.type = None
