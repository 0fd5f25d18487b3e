"""onnx-neural-compressor's autotune, which tries its settings one after the other until words are kept."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx_neural_compressor.data_reader import CalibrationDataReader
from onnx_neural_compressor.quantization import QuantFormat, config, tuning
from subject import Subject

from stablequant.recognisers.ctc.decoding import GRAPH, INPUT
from stablequant.scoring.word_errors import word_errors

MAX_DROP = 0.25  # points of WER that may be lost on the calibration set
MAX_TRIALS = 20


class Reader(CalibrationDataReader):
    """The calibration audio, which each trial reads from its start."""

    def __init__(self, audio: list[np.ndarray]) -> None:
        self._audio = audio
        self.read = 0  # utterances so far
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        found = next(self._inputs, None)
        self.read += found is not None
        return found

    def rewind(self) -> None:
        self._inputs = ({INPUT: values} for values in self._audio)


def autotune(subject: Subject, folder: Path) -> float:
    """Static INT8 by the first of its settings that loses at most `MAX_DROP` points on the calibration set.

    Raises
    ------
    TimeoutError
        if none of them does within `MAX_TRIALS`.
    """
    audio = list(subject.audio())
    transcripts = [u.transcript for u in subject.calibration]
    reader, accuracies = Reader(audio), []

    def accuracy(file: str) -> float:
        options = ort.SessionOptions()
        options.intra_op_num_threads = subject.threads
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        words = [subject.transcribe(session.run(None, {INPUT: values})[0][0]) for values in audio]
        accuracies.append(100 - word_errors(transcripts, words).wer)
        print(f"autotune: {accuracies[-1]:.2f} % of the words", flush=True)
        return accuracies[-1]

    settings = config.StaticQuantConfig.get_config_set_for_tuning(quant_format=QuantFormat.QDQ)
    baseline = accuracy(str(subject.graph))
    try:
        found = tuning.autotune(
            str(subject.graph),
            tuning.TuningConfig(settings, tolerable_loss=MAX_DROP / baseline, max_trials=MAX_TRIALS),
            accuracy,
            calibration_data_reader=reader,
        )
    except SystemExit:  # so it ends when nothing met what was asked for
        raise TimeoutError(
            f"at best {max(accuracies[2:], default=0):.2f} % of the words, {baseline:.2f} % in floating point, "
            f"after {len(accuracies) - 2} trials"
        ) from None
    onnx.save(found, folder / f"{GRAPH}.onnx")
    return len(accuracies) + reader.read / len(audio)
