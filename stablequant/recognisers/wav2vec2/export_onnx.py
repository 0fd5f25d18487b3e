"""Export a recogniser of the wav2vec 2.0 family as an ONNX graph."""

from pathlib import Path

import onnx_ir as ir

from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.recognisers.ctc.export_onnx import describe, export_logits
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.layers import config_of, quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.recognisers.wav2vec2.memory import shortest_samples


def export(folder: Path, threads: int = 1) -> dict[str, ir.Model]:
    """The single graph of the checkpoint in ``folder``, by its name."""
    model = load_model(folder, threads=threads, attention="eager")
    config = config_of(model)
    graph = export_logits(model, quantized_modules(config), shortest_samples(config))
    describe(graph, read_front_end(folder))
    return {GRAPH: graph}
