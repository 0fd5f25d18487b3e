"""The ONNX graph of a recogniser of wav2vec 2.0's kin."""

from pathlib import Path

import onnx_ir as ir

from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.recognisers.ctc.export_onnx import export_logits
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.recognisers.wav2vec2.memory import shortest_samples


def export(folder: Path, threads: int = 1) -> dict[str, ir.Model]:
    """The one graph of the checkpoint in ``folder``."""
    model = load_model(folder, threads=threads, attention="eager")
    config = model.config.to_dict()
    return {GRAPH: export_logits(model, quantized_modules(config), shortest_samples(config))}
