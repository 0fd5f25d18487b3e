"""The recogniser as an fp32 ONNX graph whose quantizable nodes carry their module's name."""

import logging
import warnings
from pathlib import Path

import onnx_ir as ir
import torch

from stablequant.files import replacing
from stablequant.layers import QuantizedModule

SCOPES = "pkg.torch.onnx.name_scopes"  # torch's exporter writes the path of modules a node stems from here
OPERATIONS = {"Conv", "MatMul", "Gemm"}


class _Logits(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        return self.model(input_values).logits


def export_onnx(model: torch.nn.Module, modules: list[QuantizedModule], path: Path) -> None:
    """Export ``model``: ``input_values`` float32 ``(batch, samples)`` to ``logits`` ``(batch, frames, classes)``.

    Both sizes are dynamic. Of the exporter's metadata only what the pipeline uses stays: the node that computes a
    module's product is named like the module.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=400)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(model),
            (torch.randn(2, 16_000),),
            dynamo=True,
            verbose=False,
            input_names=["input_values"],
            output_names=["logits"],
            dynamic_shapes=(sizes,),
        )
    name_nodes(program.model, {m.module for m in modules})
    strip_metadata(program.model)
    with replacing(path) as temporary:
        ir.save(program.model, temporary)


def name_nodes(model: ir.Model, modules: set[str]) -> None:
    """Rename the one product of every module in ``modules`` to the module's path."""
    found = set()
    for node in model.graph:
        if node.op_type not in OPERATIONS or not node.inputs[1].is_initializer():
            continue
        scopes = ir_scopes(node)
        for module in modules & set(scopes):
            if module in found:
                raise ValueError(f"two nodes compute {module}")
            node.name = module
            found.add(module)
    if found != modules:
        raise ValueError(f"no node computes {sorted(modules - found)}")


def ir_scopes(node: ir.Node) -> list[str]:
    """Module paths a node stems from, outermost first, as the checkpoint names them."""
    text = node.metadata_props.get(SCOPES, "")
    return [scope.strip("[]' \"").removeprefix("model.") for scope in text.split(",")]


def strip_metadata(model: ir.Model) -> None:
    """Drop stack traces, source names and inner shapes, which weigh megabytes and which no engine reads."""
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
