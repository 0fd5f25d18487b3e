"""A CTC recogniser as an fp32 ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from stablequant.recognisers.ctc.decoding import INPUT, OUTPUT
from stablequant.recognisers.family import QuantizedModule
from stablequant.storage.onnx_graph import name_nodes, strip_metadata


class _Logits(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        return self.model(input_values).logits


@contextmanager
def _unmasked() -> Iterator[None]:
    """Without attention's mask, which transformers leaves out where nothing is padded, but not while exporting.

    It would be added to every score of every head, and be zero.
    """
    ALL_MASK_ATTENTION_FUNCTIONS["eager"] = lambda **_: None
    try:
        yield
    finally:
        del ALL_MASK_ATTENTION_FUNCTIONS["eager"]


def export_logits(model: torch.nn.Module, modules: Sequence[QuantizedModule], shortest: int) -> ir.Model:
    """The graph of ``model``, which was loaded with eager attention and takes ``shortest`` samples or more.

    ``input_values``, float32 ``(batch, samples)``, becomes ``logits``, ``(batch, frames, classes)``; batch and samples
    are dynamic. Of the exporter's metadata only what the pipeline uses stays: the node that computes a module's product
    is named like the module.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=shortest)}
    with warnings.catch_warnings(), _unmasked():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(model),
            (torch.randn(2, 16_000),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(sizes,),
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    name_nodes(program.model, {m.module for m in modules})
    strip_metadata(program.model)
    return program.model
