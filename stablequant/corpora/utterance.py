"""Utterances of a split: their tables, their audio and their word errors."""

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
    utterance: name of the audio file; its path relative to the root if several files have the same name
    path: the audio file
    samples: length in samples at the recogniser's sample rate
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
    """An entry of a manifest that cannot be used: its ``line`` and ``path``, and the ``reason``."""

    line: int
    path: str
    reason: str


Batch = list[Utterance]  # recognised at once


def table_of(
    rows: Sequence[Utterance] | Sequence[Rejection], columns: type[Utterance] | type[Rejection]
) -> pd.DataFrame:
    """A table with one row per dataclass in ``rows`` and the fields of ``columns``, even if there are no rows."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(columns)])


def read_utterances(path: Path) -> list[Utterance]:
    """The utterances in ``utterances/{split}.tsv``; raise `StableQuantError` if the table cannot be read."""
    table = read_table(path, text=("utterance", "path", "transcript", "sha256"))
    columns = (table[f.name].tolist() for f in fields(Utterance))
    return [Utterance(*row) for row in zip(*columns, strict=True)]


def load_audio(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Samples of an utterance, float32 ``(samples,)``, full scale is 1, at ``sample_rate`` (Hz).

    Raises
    ------
    StableQuantError
        when the recording cannot be read, or when it changed since it was listed.
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
    """Word errors in the order of ``utterances``. ``hypotheses`` maps the path of each utterance to its hypothesis."""
    return word_errors([u.transcript for u in utterances], [hypotheses[u.path] for u in utterances])


def check_disjoint(calibration: Sequence[Utterance], evaluation: Sequence[Utterance]) -> None:
    """Raise `StableQuantError` if ``evaluation`` contains audio of ``calibration``, found by checksum.

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
