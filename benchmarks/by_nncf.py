"""NNCF, which OpenVINO's documentation advises."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from subject import Subject

from stablequant.engines import openvino
from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.scoring.word_errors import word_errors

MAX_DROP = 0.25  # points of WER that accuracy control may lose
MAX_PASSES = 250  # over the calibration set that it may take


def quantize(subject: Subject, folder: Path) -> float:
    audio = list(subject.audio())
    dataset = nncf.Dataset(audio)
    model = ov.Core().read_model(subject.graph)
    quantized = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(audio))
    ov.save_model(quantized, folder / f"{GRAPH}.xml", compress_to_fp16=False)
    return 1


def with_accuracy_control(subject: Subject, folder: Path) -> float:
    """NNCF, leaving layers in floating point until no more than `MAX_DROP` points are lost on the calibration set.

    Raises
    ------
    TimeoutError
        after `MAX_PASSES` passes.
    """
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
    ov.save_model(quantized, folder / f"{GRAPH}.xml", compress_to_fp16=False)
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


def compress_weights(graph: Path, file: Path, group: int | None = None) -> None:
    """Write OpenVINO's network with weights in INT8.

    OpenVINO quantizes activations while it runs, in groups of ``group`` values, by itself of 32.
    """
    model = nncf.compress_weights(ov.Core().read_model(graph))
    if group:
        model.set_rt_info(str(group), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    ov.save_model(model, file, compress_to_fp16=False)


def weights(group: int | None, subject: Subject, folder: Path) -> float:
    """Weights alone, which takes no audio, see `compress_weights`."""
    compress_weights(subject.graph, folder / f"{GRAPH}.xml", group)
    return 0
