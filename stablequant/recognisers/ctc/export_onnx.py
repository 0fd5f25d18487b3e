"""Export a CTC recogniser as an fp32 ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from stablequant.recognisers.ctc.decoding import OUTPUT
from stablequant.recognisers.ctc.front_end import INPUT
from stablequant.recognisers.family import QuantizedModule
from stablequant.storage.onnx_graph import name_nodes, strip_metadata


class _Logits(torch.nn.Module):
    """A CTC model that returns only its logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(*inputs).logits
        return logits


@contextmanager
def _unmasked() -> Iterator[None]:
    """Inside the block, transformers creates no attention mask.

    Normally it creates none if there is no padding, but it always does during an export. This mask would be all zeros,
    and the graph would add it to every score of every head.
    """
    masks: Any = ALL_MASK_ATTENTION_FUNCTIONS
    masks["eager"] = lambda **_: None
    try:
        yield
    finally:
        del masks["eager"]


def export_logits(model: torch.nn.Module, modules: Sequence[QuantizedModule], shortest: int) -> ir.Model:
    """The graph of ``model``, which reads audio. The shortest audio has ``shortest`` samples.

    The input is ``input_values``, float32 ``(batch, samples)``, see `export_graph`.
    """
    with _unmasked():
        return export_graph(model, modules, {INPUT: torch.randn(2, 16_000)}, torch.export.Dim("samples", min=shortest))


def export_graph(
    model: torch.nn.Module,
    modules: Sequence[QuantizedModule],
    inputs: Mapping[str, torch.Tensor],
    time: torch.export.Dim,
) -> ir.Model:
    """The graph of ``model``, which was loaded with eager attention and takes ``inputs`` in this order.

    ``inputs`` are examples, ``(batch, time, ...)`` each. Their first two axes are dynamic. The output is ``logits``,
    float32 ``(batch, frames, classes)``. The node that computes the product of a module has the module's name. All
    other metadata of the exporter is removed.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {0: torch.export.Dim("batch"), 1: time}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(model),
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=((sizes,) * len(inputs),),
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    name_nodes(program.model, {m.module for m in modules})
    strip_metadata(program.model)
    return program.model
