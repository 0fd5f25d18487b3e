"""The tools that `peers.py` compares with: each turns a recogniser's fp32 graph into an OpenVINO network in INT8."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import torch

from stablequant.corpora.utterance import Utterance, load_audio
from stablequant.engines import openvino
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.int8 import Range
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.family import QuantizedModule
from stablequant.recognisers.operations import operation_of
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.scoring.word_errors import word_errors

MAX_DROP = 0.25  # points of WER that accuracy control may lose
MAX_PASSES = 250  # over the calibration set that it may take
PACKAGES = {  # by what methods' names begin with
    "onnxruntime": "onnxruntime.quantization",
    "nncf": "nncf",
    "modelopt": "modelopt.torch.quantization",
    "pytorch": "pytorch_quantization.calib",
}


@dataclass(frozen=True)
class Subject:
    """One recogniser, and what quantizing it takes.

    Attributes
    ----------
    results: the workflow's folder for it
    """

    name: str
    results: Path
    modules: list[QuantizedModule]
    front_end: FrontEnd
    calibration: list[Utterance]
    evaluation: list[Utterance]
    threads: int

    @property
    def checkpoint(self) -> Path:
        return self.results / "checkpoint"

    @property
    def graph(self) -> Path:
        return self.results / "onnx/fp32.onnx"

    def torch_model(self) -> torch.nn.Module:
        return load_model(self.checkpoint, threads=self.threads)

    def audio(self) -> Iterator[np.ndarray]:
        """The calibration set, one utterance ``(1, samples)`` after the other."""
        for utterance in self.calibration:
            yield self.front_end.prepare(load_audio(utterance, self.front_end.sample_rate))[None]


Quantize = Callable[[Subject, Path], float]  # writes model.xml into a folder; returns the recognition passes it took


def onnxruntime_static(method: str, subject: Subject, folder: Path) -> float:
    """ONNX Runtime's static quantization of the layers' convolutions and products, weights per channel.

    By default it would quantize what these give, too, which on some recognisers loses many more words. Its histograms
    take arrays of one length only, so that for those every utterance is cut to the shortest one's. Its pre-processing
    is left out: it finds nothing in these graphs to fuse.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._audio = subject.audio()
            self._samples = None if method == "MinMax" else min(u.samples for u in subject.calibration)

        def get_next(self) -> dict | None:
            audio = next(self._audio, None)
            return None if audio is None else {INPUT: audio[:, : self._samples]}

    operations = ["Conv", "MatMul", "Gemm"]
    quantize_static(
        subject.graph,
        folder / "model.onnx",
        Reader(),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=operations,
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": operations},
        calibrate_method=CalibrationMethod[method],
    )
    openvino.convert(folder / "model.onnx", folder / "model.xml")
    return 1


def nncf_quantize(subject: Subject, folder: Path) -> float:
    import nncf

    audio = list(subject.audio())
    dataset = nncf.Dataset(audio)
    model = ov.Core().read_model(subject.graph)
    quantized = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(audio))
    ov.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
    return 1


def nncf_accuracy_control(subject: Subject, folder: Path) -> float:
    """NNCF, leaving layers in floating point until no more than `MAX_DROP` points are lost on the calibration set.

    Raises
    ------
    TimeoutError
        after `MAX_PASSES` passes.
    """
    import nncf

    audio = list(subject.audio())
    transcripts = [u.transcript for u in subject.calibration]
    passes = 1.0

    def accuracy(compiled: ov.CompiledModel, items: Iterator) -> tuple[float, list[float]]:
        nonlocal passes
        chosen = [int(item[0]) for item in items]
        words = [subject.front_end.vocabulary.decode(compiled([audio[i]])[0][0].argmax(axis=-1)) for i in chosen]
        passes += len(chosen) / len(audio)
        if passes > MAX_PASSES:
            raise TimeoutError(f"more than {MAX_DROP} points lost after {MAX_PASSES} passes, our limit")
        scored = word_errors([transcripts[i] for i in chosen], words)
        return -scored.wer, (-scored.errors).astype(float).tolist()

    numbers = [np.array([i]) for i in range(len(audio))]
    with kernels_that_do_not_saturate():
        quantized = nncf.quantize_with_accuracy_control(
            ov.Core().read_model(subject.graph),
            nncf.Dataset(audio),
            nncf.Dataset(numbers),
            accuracy,
            max_drop=MAX_DROP,
            drop_type=nncf.DropType.ABSOLUTE,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(audio),
        )
    ov.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
    return passes


@contextmanager
def kernels_that_do_not_saturate() -> Iterator[None]:
    """NNCF compiles what it judges itself; inside the block it does so as the engines here are compiled."""
    original = ov.compile_model

    def compile_model(model: ov.Model, *_arguments: object, **_settings: object) -> ov.CompiledModel:
        ov.compile_model = original
        try:
            return openvino.compile_network(model.clone(), threads=0)[0]
        finally:
            ov.compile_model = compile_model

    ov.compile_model = compile_model
    try:
        yield
    finally:
        ov.compile_model = original


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
    insert_qdq({GRAPH: subject.graph}, chosen, symmetric, channel_scales, {GRAPH: folder / "model.onnx"})
    openvino.convert(folder / "model.onnx", folder / "model.xml")


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


PEERS: dict[str, Quantize] = {
    **{f"onnxruntime-{m.lower()}": partial(onnxruntime_static, m) for m in ("MinMax", "Percentile", "Entropy")},
    "nncf": nncf_quantize,
    "nncf-accuracy-control": nncf_accuracy_control,
    **{f"modelopt-{m}": partial(modelopt, m) for m in ("max", "smoothquant", "auto")},
    **{f"pytorch-quantization-{m}": partial(pytorch_quantization, m) for m in ("max", "percentile", "entropy")},
}
