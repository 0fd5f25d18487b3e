"""Export a CTC recogniser as an fp32 ONNX graph."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from stablequant.recognisers.ctc.decoding import OUTPUT
from stablequant.recognisers.ctc.front_end import INPUT, FrontEnd
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.onnx_graph import OPSET, add_constant, insert_node, name_nodes, strip_metadata


class _Logits(torch.nn.Module):
    """A CTC model that returns only its logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(*inputs).logits
        return logits


@contextmanager
def _simple_masks() -> Iterator[None]:
    """Inside the block, attention gets `_mask_of_keys` in place of transformers' masks.

    Those are written out for each pair of frames during an export, and made even of no padding.
    """
    masks: Any = ALL_MASK_ATTENTION_FUNCTIONS
    masks["eager"] = _mask_of_keys
    try:
        yield
    finally:
        del masks["eager"]


def _mask_of_keys(
    attention_mask: torch.Tensor | None = None, dtype: torch.dtype = torch.float32, **_: object
) -> torch.Tensor | None:
    """What is added to the scores, ``(batch, 1, 1, keys)``; None if nothing is padded.

    ``attention_mask``, ``(batch, keys)``, is true for audio and false for padding.
    """
    if attention_mask is None:
        return None
    zero = torch.zeros((), dtype=dtype)
    return torch.where(attention_mask.bool()[:, None, None], zero, torch.finfo(dtype).min)


def export_logits(model: torch.nn.Module, modules: Sequence[QuantizedModule], shortest: int) -> ir.Model:
    """The graph of ``model``, which reads audio. The shortest audio has ``shortest`` samples.

    The input is ``input_values``, float32 ``(batch, samples)``, see `export_graph`.
    """
    inputs = {INPUT: torch.randn(2, 16_000)}
    return export_graph(model, modules, inputs, torch.export.Dim("samples", min=shortest))


def export_graph(
    model: torch.nn.Module,
    modules: Sequence[QuantizedModule],
    inputs: Mapping[str, torch.Tensor],
    time: torch.export.Dim,
) -> ir.Model:
    """The graph of ``model``, which was loaded with eager attention and takes ``inputs`` in this order.

    ``inputs`` are examples, ``(batch, time, ...)`` each. Their first two axes are dynamic. The output is ``logits``,
    float32 ``(batch, frames, classes)``. The node that computes the product of a module has the module's name. All
    other metadata of the exporter is removed. The scores of the attention are bounded, see `bound_scores`.
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sizes = {0: torch.export.Dim("batch"), 1: time}
    with warnings.catch_warnings(), _simple_masks():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Logits(model),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=((sizes,) * len(inputs),),
        )
    if program is None:
        raise RuntimeError("torch exported nothing")
    name_nodes(program.model, {m.module for m in modules})
    strip_metadata(program.model)
    name_frames(program.model.graph)
    bound_scores(program.model.graph)
    return program.model


def describe(model: ir.Model, front_end: FrontEnd) -> None:
    """Write into the metadata of ``model`` what a program needs beside the graph: form of the audio, vocabulary."""
    written = {
        "do_normalize": json.dumps(front_end.do_normalize),
        "variance_epsilon": f"{front_end.epsilon:g}",
        "vocabulary": json.dumps(front_end.vocabulary.tokens, ensure_ascii=False),
        "blank": str(front_end.vocabulary.blank),
        "word_delimiter": json.dumps(front_end.vocabulary.delimiter, ensure_ascii=False),
    }
    model.metadata_props.update(written)


def name_frames(graph: ir.Graph) -> None:
    """Name the axis of frames of the output. The exporter writes the formula that computes it from the input."""
    (output,) = graph.outputs
    if output.shape is None:
        raise ValueError("the output has no shape")
    output.shape = ir.Shape([output.shape[0], "frames", *output.shape[2:]])


def bound_scores(graph: ir.Graph) -> None:
    """Take the maximum of each softmax's input and the lowest float32. The numbers stay the same.

    This avoids a fault of OpenVINO (2026.4.1). It fuses a product, its softmax and the next product into one kernel. If
    the first audio is a single frame, the softmax stays as it was made for that, and all later results are wrong. With
    an operation between the product and the softmax, the kernel is as fast and right.
    """
    softmaxes = [node for node in graph if node.op_type == "Softmax"]
    if softmaxes:
        floor = add_constant(graph, "lowest_score", np.array(np.finfo(np.float32).min))
    for node in softmaxes:
        bounded = insert_node(graph, node, "Max", [node.inputs[0], floor], f"{node.name}/bounded")
        node.replace_input_with(0, bounded)
