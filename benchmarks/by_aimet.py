"""Qualcomm's AIMET for ONNX: ranges of the calibration audio, cross-layer equalisation, and mixed precision."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from aimet_onnx import QuantizationSimModel
from aimet_onnx.cross_layer_equalization import equalize_model
from aimet_onnx.lite_mp import flip_layers_to_higher_precision
from aimet_onnx.quant_analyzer import analyze_per_layer_sensitivity
from subject import Subject

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT

JUDGING = 5  # utterances that AIMET's sensitivity hears
IN_FLOAT = 10  # percent of the layers that stay in floating point


def quantize(way: str, subject: Subject, folder: Path) -> float:
    """AIMET's defaults.

    ``cle`` equalises layers in sequence first; ``sensitivity`` leaves the `IN_FLOAT` percent of layers in floating
    point that disturb the output most.
    """
    model = onnx.load(subject.graph)
    if way == "cle":
        equalize_model(model)
    simulated = QuantizationSimModel(model)
    simulated.compute_encodings({INPUT: audio} for audio in subject.audio())
    passes = 1.0
    if way == "sensitivity":
        few = [audio for audio, _ in zip(subject.audio(), range(JUDGING), strict=False)]
        session = ort.InferenceSession(subject.graph, providers=["CPUExecutionProvider"])
        wanted = [session.run(None, {INPUT: audio})[0] for audio in few]

        def judge(session: ort.InferenceSession) -> float:
            nonlocal passes
            passes += len(few) / len(subject.calibration)
            return signal_to_noise(wanted, [session.run(None, {INPUT: audio})[0] for audio in few])

        flip_layers_to_higher_precision(simulated, analyze_per_layer_sensitivity(simulated, judge), IN_FLOAT)
    onnx.save(simulated.to_onnx_qdq(), folder / "quantized.onnx")
    openvino.convert(folder / "quantized.onnx", folder / f"{GRAPH}.xml")
    return passes


def signal_to_noise(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    """In decibels, over all logits."""
    signal = sum(float(np.square(values).sum()) for values in wanted)
    noise = sum(float(np.square(a - b).sum()) for a, b in zip(wanted, found, strict=True))
    return 10 * np.log10(signal / noise)
