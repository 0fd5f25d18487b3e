"""NVIDIA's quantizers: pytorch-quantization, and Model Optimizer for torch and for ONNX."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader
from subject import Subject

from stablequant.engines import openvino
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.int8 import Range
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import operation_of


def place_ranges(
    subject: Subject,
    modules: list[QuantizedModule],
    ranges: Mapping[str, float],
    channel_scales: Mapping[str, np.ndarray],
    folder: Path,
) -> None:
    """Quantize those of ``modules`` whose activations have an amax in ``ranges``, around 0, as NVIDIA's toolkits do."""
    chosen = [m for m in modules if m.activation in ranges]
    symmetric = {name: Range.symmetric(amax) for name, amax in ranges.items()}
    insert_qdq({GRAPH: subject.graph}, chosen, symmetric, channel_scales, {GRAPH: folder / "quantized.onnx"})
    openvino.convert(folder / "quantized.onnx", folder / f"{GRAPH}.xml")


def pytorch_quantization(method: str, subject: Subject, folder: Path) -> float:
    """NVIDIA's calibrators on the inputs of all modules, with their default settings."""
    from pytorch_quantization.calib import HistogramCalibrator, MaxCalibrator

    model = subject.torch_model()
    calibrators: dict[str, MaxCalibrator | HistogramCalibrator] = {}
    handles = []
    for module in subject.modules:
        if module.activation in calibrators:
            continue
        new = MaxCalibrator(8, None, False) if method == "max" else HistogramCalibrator(8, None, False)
        calibrators[module.activation] = new
        hook = partial(lambda calibrator, _module, inputs: calibrator.collect(inputs[0].detach()), new)
        handles.append(operation_of(model, module).register_forward_pre_hook(hook))
    with torch.inference_mode():
        for audio in subject.audio():
            model(torch.from_numpy(audio))
    for handle in handles:
        handle.remove()
    arguments = [] if method == "max" else [method]
    amax = {name: float(calibrator.compute_amax(*arguments)) for name, calibrator in calibrators.items()}
    place_ranges(subject, subject.modules, amax, {}, folder)
    return 1


def modelopt(method: str, subject: Subject, folder: Path) -> float:
    """NVIDIA's Model Optimizer in INT8: by maxima (``max``), the same behind SmoothQuant's scales of the channels
    (``smoothquant``), or as its search by gradients of CTC's loss leaves layers in floating point, within 9 bits per
    weight on average (``auto``)."""
    import modelopt.torch.quantization as mtq

    model = subject.torch_model()

    def recognise_all(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            for audio in subject.audio():
                model(torch.from_numpy(audio))

    passes = 1.0
    if method == "auto":
        model.requires_grad_(True)
        tokens, delimiter = subject.front_end.vocabulary.tokens, subject.front_end.vocabulary.delimiter
        letters = [[tokens.index(delimiter if c == " " else c) for c in u.transcript] for u in subject.calibration]
        audio = [torch.from_numpy(utterance) for utterance in subject.audio()]
        batches = list(zip(audio, [torch.tensor([ids]) for ids in letters], strict=True))
        model, found = mtq.auto_quantize(
            model,
            constraints={"effective_bits": 9.0},
            quantization_formats=[mtq.INT8_DEFAULT_CFG],
            data_loader=batches,
            forward_step=lambda model, batch: model(batch[0], labels=batch[1]).loss,
            loss_func=lambda loss, _batch: loss,
            num_calib_steps=len(batches),
            num_score_steps=len(batches),
        )
        if not any(score > 0 for layer in found["candidate_stats"].values() for score in layer["scores"]):
            raise RuntimeError("the search scored every layer 0")
        passes = 3.0  # calibration, and forward and backward of the scores
    else:
        mtq.quantize(model, mtq.INT8_DEFAULT_CFG if method == "max" else mtq.INT8_SMOOTHQUANT_CFG, recognise_all)
    modules = subject.modules
    if method == "smoothquant":  # modules that read the same tensor scale its channels each for itself
        modules = [replace(module, activation=module.module) for module in modules]
    amax, channel_scales = {}, {}
    for module in modules:
        quantizer = operation_of(model, module).input_quantizer
        if quantizer.is_enabled:
            amax[module.activation] = float(quantizer.amax)
            if quantizer.pre_quant_scale is not None:
                channel_scales[module.activation] = 1 / quantizer.pre_quant_scale.numpy()
    place_ranges(subject, modules, amax, channel_scales, folder)
    return passes


class Restarting(CalibrationDataReader):
    """The calibration audio, which Model Optimizer reads from its start more than once."""

    def __init__(self, subject: Subject) -> None:
        self._audio = list(subject.audio())
        self.rewind()

    def get_first(self) -> dict[str, np.ndarray]:
        return {INPUT: self._audio[0]}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)

    def rewind(self) -> None:
        self._inputs = ({INPUT: audio} for audio in self._audio)


def modelopt_onnx(method: str, subject: Subject, folder: Path) -> float:
    """Model Optimizer's quantization of the ONNX graph, made for TensorRT, what it does not quantize in float32."""
    from modelopt.onnx.quantization import quantize

    quantize(
        str(subject.graph),
        quantize_mode="int8",
        calibration_method=method,
        calibration_data_reader=Restarting(subject),
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(folder / "quantized.onnx"),
    )
    openvino.convert(folder / "quantized.onnx", folder / f"{GRAPH}.xml")
    return 1
