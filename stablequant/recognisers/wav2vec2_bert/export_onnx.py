"""Export a Wav2Vec2-BERT recogniser as an ONNX graph."""

from pathlib import Path

import onnx_ir as ir
import torch

from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.recognisers.ctc.export_onnx import describe, export_graph
from stablequant.recognisers.wav2vec2_bert.front_end import FEATURES, MASK
from stablequant.recognisers.wav2vec2_bert.layers import config_of, quantized_modules
from stablequant.recognisers.wav2vec2_bert.loading import load_model
from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising

STACKS = 49  # of the example, one second


def export(folder: Path, threads: int = 1) -> dict[str, ir.Model]:
    """The single graph of the checkpoint in ``folder``, by its name."""
    model = load_model(folder, threads=threads, attention="eager")
    config = config_of(model)
    mask = torch.ones(2, STACKS, dtype=torch.int64)
    mask[1, -1] = 0
    inputs = {FEATURES: torch.randn(2, STACKS, config["feature_projection_input_dim"]), MASK: mask}
    graph = export_graph(model, quantized_modules(config), inputs, torch.export.Dim("stacks", min=1))
    describe(graph, read_recognising(folder).front_end)
    return {GRAPH: graph}
