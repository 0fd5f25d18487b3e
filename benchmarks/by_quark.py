"""AMD's Quark, by its configuration for transformers in INT8."""

from pathlib import Path

from by_onnxruntime import reader_of
from quark.onnx import ModelQuantizer
from quark.onnx.quantization.config import QConfig
from subject import Subject

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH


def quantize(config: str, subject: Subject, folder: Path) -> float:
    """Quark's configuration ``config``."""
    quantizer = ModelQuantizer(QConfig.get_default_config(config))
    quantizer.quantize_model(str(subject.graph), str(folder / "quantized.onnx"), reader_of(subject))
    openvino.convert(folder / "quantized.onnx", folder / f"{GRAPH}.xml")
    return 1
