"""Utterances of a split: their tables, and their audio."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from stablequant.corpora.audio import AudioError, read_audio
from stablequant.errors import StableQuantError
from stablequant.scoring.word_errors import WordErrors, word_errors
from stablequant.storage.files import checksum, read_table


@dataclass(frozen=True)
class Utterance:
    """One recording that can be recognised and scored.

    Attributes
    ----------
    utterance: its file's name, with the path below the root where several files have that name
    path: its audio file
    samples: its length at the recogniser's sample rate
    transcript: the reference words
    sha256: checksum of the audio file
    """

    utterance: str
    path: str
    samples: int
    transcript: str
    sha256: str


@dataclass(frozen=True)
class Rejection:
    """A manifest's entry that cannot be used, and why."""

    line: int
    path: str
    reason: str


Batch = list[Utterance]


def table_of(
    rows: Sequence[Utterance] | Sequence[Rejection], columns: type[Utterance] | type[Rejection]
) -> pd.DataFrame:
    """One row per dataclass, with the header even where there is none."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(columns)])


def read_utterances(path: Path) -> list[Utterance]:
    """Read ``utterances/{split}.tsv``."""
    table = read_table(path, text=("utterance", "path", "transcript", "sha256"))
    columns = (table[f.name].tolist() for f in fields(Utterance))
    return [Utterance(*row) for row in zip(*columns, strict=True)]


def load_audio(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Samples of an utterance, float32 ``(samples,)`` in [-1, 1] at ``sample_rate``.

    Raises
    ------
    StableQuantError
        when the recording cannot be read, or has changed since it was listed.
    """
    try:
        samples = read_audio(Path(utterance.path), sample_rate).samples
    except AudioError as error:
        raise StableQuantError(
            utterance.path,
            str(error),
            "restore the file, or list the split again: snakemake --forcerun list_utterances",
        ) from error
    if checksum(Path(utterance.path)) != utterance.sha256:
        raise StableQuantError(
            utterance.path,
            "the audio changed since it was listed",
            "restore it, or measure again on the new audio: snakemake --forcerun list_utterances",
        )
    return samples


def score(utterances: Sequence[Utterance], hypotheses: Mapping[str, str]) -> WordErrors:
    """Word errors in the order of ``utterances``; ``hypotheses`` are by the utterance's path."""
    return word_errors([u.transcript for u in utterances], [hypotheses[u.path] for u in utterances])


def check_disjoint(calibration: Sequence[Utterance], evaluation: Sequence[Utterance]) -> None:
    """Raise `StableQuantError` where ``evaluation`` holds audio of ``calibration``.

    Otherwise the test set would contain calibration audio.
    """
    calibrated = {u.sha256: u.path for u in calibration}
    shared = [u for u in evaluation if u.sha256 in calibrated]
    if shared:
        raise StableQuantError(
            shared[0].path,
            f"the calibration split holds the same audio, {calibrated[shared[0].sha256]} ({len(shared)} of "
            f"{len(evaluation)} evaluation utterances are such)",
            "leave them out of one of the splits",
        )
