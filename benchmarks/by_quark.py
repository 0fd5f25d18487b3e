"""AMD's Quark, by its configuration for transformers in INT8."""

from contextlib import chdir
from pathlib import Path

from by_onnxruntime import Reader
from quark.onnx import ModelQuantizer
from quark.onnx.quantization.config import QConfig
from subject import Subject

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT


def quantize(config: str, subject: Subject, folder: Path) -> float:
    """Quark's configuration ``config``."""
    graph, file = str(subject.graph.resolve()), folder.resolve() / "quantized.onnx"
    inputs = [{INPUT: audio} for audio in subject.audio()]
    with chdir(folder):  # where it leaves a table of what it did
        ModelQuantizer(QConfig.get_default_config(config)).quantize_model(graph, str(file), Reader(iter(inputs)))
    openvino.convert(file, folder / f"{GRAPH}.xml")
    return 1
