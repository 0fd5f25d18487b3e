"""A recogniser of the workflow, and what other tools need to quantize it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import project  # noqa: F401 - it makes the package importable
import numpy as np

from stablequant.corpora.utterance import Utterance, load_audio, read_utterances
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.wav2vec2.family import read_front_end

if TYPE_CHECKING:
    import torch


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

    def torch_model(self) -> "torch.nn.Module":
        from stablequant.recognisers.wav2vec2.loading import load_model  # not every tool has this torch beside it

        return load_model(self.checkpoint, threads=self.threads)

    def audio(self) -> Iterator[np.ndarray]:
        """The calibration set, one utterance ``(1, samples)`` after the other."""
        for utterance in self.calibration:
            yield self.front_end.prepare(load_audio(utterance, self.front_end.sample_rate))[None]

    def transcribe(self, logits: np.ndarray) -> str:
        """The text of ``logits`` ``(frames, tokens)``, the likeliest token of each frame."""
        return self.front_end.vocabulary.decode(logits.argmax(axis=-1))


def read_subject(results: Path, threads: int) -> Subject:
    """The recogniser whose workflow wrote ``results``."""
    front_end = read_front_end(results / "checkpoint")
    calibration, evaluation = (
        read_utterances(results / f"utterances/{split}.tsv") for split in ("calibration", "evaluation")
    )
    modules = read_modules(results / "layers.tsv")
    return Subject(results.name, results, modules, front_end, calibration, evaluation, threads)
