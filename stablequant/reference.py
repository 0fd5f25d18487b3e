"""The fp32 recognition of the calibration set, against which every layer is measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from stablequant.files import read_json, replacing, write_json
from stablequant.front_end import FrontEnd, read_front_end
from stablequant.metrics import WordErrors
from stablequant.recognition import Recognition
from stablequant.utterances import Utterance, read_utterances


@dataclass(frozen=True)
class Reference:
    """Word errors in the order of the utterance table, log posteriors ``(frames, classes)`` by path."""

    errors: WordErrors
    log_posteriors: dict[str, np.ndarray]


def save_reference(summary: Path, posteriors: Path, recognition: Recognition, utterances: list[Utterance]) -> None:
    """Write WER, words and hypotheses as JSON and the log posteriors as safetensors."""
    measured = recognition.score(utterances)
    rows = [
        {"path": u.path, "words": words, "errors": errors, "hypothesis": recognition.hypotheses[u.path]}
        for u, words, errors in zip(utterances, measured.words.tolist(), measured.errors.tolist(), strict=True)
    ]
    write_json(summary, {"wer": measured.wer, "words": int(measured.words.sum()), "utterances": rows})
    with replacing(posteriors) as temporary:
        save_file({path: np.ascontiguousarray(rows) for path, rows in recognition.log_posteriors.items()}, temporary)


def load_reference(summary: Path, posteriors: Path) -> Reference:
    rows = read_json(summary)["utterances"]
    errors = WordErrors(np.array([row["errors"] for row in rows]), np.array([row["words"] for row in rows]))
    return Reference(errors, load_file(posteriors))


@dataclass(frozen=True)
class Calibration:
    """The calibration set as a probe needs it; ``seed`` draws the bootstrap's utterances."""

    utterances: list[Utterance]
    front_end: FrontEnd
    reference: Reference
    batch_seconds: float
    seed: int


def read_calibration(
    checkpoint: Path, utterances: Path, summary: Path, posteriors: Path, batch_seconds: float, seed: int
) -> Calibration:
    return Calibration(
        read_utterances(utterances),
        read_front_end(checkpoint),
        load_reference(summary, posteriors),
        batch_seconds,
        seed,
    )
