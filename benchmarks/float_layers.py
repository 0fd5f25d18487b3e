"""Which layers of a network are not computed in INT8, as its file tells."""

import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import openvino as ov

from stablequant.recognisers.modules import QuantizedModule


def floating(file: Path, modules: Sequence[QuantizedModule]) -> set[str]:
    """Names of layers with a product that does not read quantized activations and INT8 weights.

    ``file`` is OpenVINO's network or an ONNX graph; ``modules`` that are not in it do not count. Where a tool has
    renamed all of them, they are told by their order, that of the audio. Ends the program if that is not possible.
    """
    found = in_onnx(file) if file.suffix == ".onnx" else in_openvino(file)
    names = {module.module for module in modules}
    if not names & found.keys():
        if len(found) != len(modules):
            sys.exit(f"{file}: no product has a name that is known")
        found = dict(zip((module.module for module in modules), found.values(), strict=True))
    return {module.layer for module in modules if not found.get(module.module, True)}


def in_onnx(file: Path) -> dict[str, bool]:
    """Whether each product of an ONNX graph is INT8, by the name of its module."""
    nodes = onnx.load(file, load_external_data=False).graph.node
    made = {output: node.op_type for node in nodes for output in node.output}
    found: dict[str, bool] = {}
    for node in nodes:
        if not any(kind in node.op_type for kind in ("Conv", "MatMul", "Gemm")):
            continue
        integer = "Integer" in node.op_type or made.get(node.input[0]) == "DequantizeLinear"
        found[node.name.removesuffix("_quant").split("/")[0]] = integer
    return found


def in_openvino(file: Path) -> dict[str, bool]:
    """The same of OpenVINO's network, of the products with constants only, in the order of the audio."""
    return {
        node.get_friendly_name().split("/")[0]: _behind(node, 0, "FakeQuantize") and _behind(node, 1, "Convert")
        for node in ov.Core().read_model(file).get_ordered_ops()
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul") and _behind(node, 1, "Constant")
    }


def _behind(node: ov.Node, place: int, kind: str, steps: int = 10) -> bool:
    """Whether a node of ``kind`` leads to the input ``place`` through few others, which have that input first."""
    for _ in range(steps):
        if place >= node.get_input_size():
            return False
        node = node.input_value(place).get_node()
        if node.get_type_name() == kind:
            return True
        place = 0
    return False
