"""The recogniser as an fp32 ONNX graph whose quantizable nodes carry their module's name."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from stablequant.recognisers.ctc.front_end import INPUT, OUTPUT
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.storage.onnx_graph import name_nodes, save_graph, strip_metadata


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


def export_onnx(model: torch.nn.Module, modules: list[QuantizedModule], path: Path) -> None:
    """Export ``model``, loaded with eager attention.

    ``input_values``, float32 ``(batch, samples)``, becomes ``logits``, ``(batch, frames, classes)``; batch and samples
    are dynamic. Of the exporter's metadata only what the pipeline uses stays: the node that computes a module's product
    is named like the module.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=400)}
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
    save_graph(program.model, path)
