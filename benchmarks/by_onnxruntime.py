"""ONNX Runtime's own quantization, static and dynamic."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from subject import Subject

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT

PRODUCTS = ["MatMul", "Gemm"]


class Reader(CalibrationDataReader):
    """Inputs of a graph, as ONNX Runtime and tools like it read them while they calibrate."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def reader_of(subject: Subject, samples: int | None = None) -> Reader:
    """The calibration audio of ``subject``, of each utterance the first ``samples``."""
    return Reader({INPUT: audio[:, :samples]} for audio in subject.audio())


def quantize_graph(graph: Path, file: Path, reader: Reader, convolutions: bool = True, method: str = "MinMax") -> None:
    """Quantize what products and, if asked for, convolutions read, weights per channel.

    By default it would quantize what these give, too, which on some recognisers loses many more words. Its
    pre-processing is left out: it finds nothing in these graphs to fuse.
    """
    operations = ["Conv", *PRODUCTS] if convolutions else PRODUCTS
    quantize_static(
        graph,
        file,
        reader,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=operations,
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": operations},
        calibrate_method=CalibrationMethod[method],
    )


def quantize_graph_dynamically(graph: Path, file: Path, everything: bool) -> None:
    """Weights in INT8, activations quantized while it runs.

    ``everything`` that it can is quantized, as by default, or products alone, with weights per channel. Of convolutions
    it has kernels for unsigned weights only.
    """
    if everything:
        quantize_dynamic(graph, file, weight_type=QuantType.QUInt8)
        return
    quantize_dynamic(
        graph,
        file,
        op_types_to_quantize=PRODUCTS,
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def static(method: str, convolutions: bool, subject: Subject, folder: Path) -> float:
    """Static quantization, ranges by ``method``. Its histograms take arrays of one length only, so that for
    those every utterance is cut to the shortest one's."""
    samples = None if method == "MinMax" else min(u.samples for u in subject.calibration)
    file = folder / "quantized.onnx"
    quantize_graph(subject.graph, file, reader_of(subject, samples), convolutions, method)
    openvino.convert(file, folder / f"{GRAPH}.xml")
    return 1


def dynamic(everything: bool, subject: Subject, folder: Path) -> float:
    """Dynamic quantization, for ONNX Runtime itself."""
    quantize_graph_dynamically(subject.graph, folder / f"{GRAPH}.onnx", everything)
    return 0
