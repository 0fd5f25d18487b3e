"""Utterances of a split: their tables, their audio and their word errors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from stablequant.corpora.audio import AudioError, cut, read_audio, read_part
from stablequant.corpora.entries import Rejection
from stablequant.errors import StableQuantError
from stablequant.scoring.word_errors import WordErrors, word_errors
from stablequant.storage.files import FileState, checksum, read_table, state_of


@dataclass(frozen=True)
class Utterance:
    """One recording, or a part of one, that can be recognised and scored.

    Attributes
    ----------
    utterance: name of the utterance, unique in its split: the corpus's, or that of the audio file, with start and end
        of a part; with the path relative to the root if several have the same name
    path: the audio file
    samples: length in samples at the recogniser's sample rate
    transcript: the reference words
    sha256: checksum of the audio file
    speaker: who speaks; None if the corpus does not say
    start, stop: seconds between which the utterance lies in the file; None if it is the whole file
    channel: number of its channel in the file, from 0; None if it is the mean of all
    """

    utterance: str
    path: str
    samples: int
    transcript: str
    sha256: str
    speaker: str | None = None
    start: float | None = None
    stop: float | None = None
    channel: int | None = None

    @property
    def key(self) -> str:
        """What tells the utterance from all others: the path, with start and end of a part, and its channel."""
        channel = "" if self.channel is None else f"#{self.channel}"
        return self.path + ("" if self.start is None else f"#{self.start}-{self.stop}") + channel


Batch = list[Utterance]  # recognised at once


def table_of(
    rows: Sequence[Utterance] | Sequence[Rejection], columns: type[Utterance] | type[Rejection]
) -> pd.DataFrame:
    """A table with one row per dataclass in ``rows`` and the fields of ``columns``, even if there are no rows."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(columns)])


def read_utterances(path: Path) -> list[Utterance]:
    """The utterances in ``utterances/{split}.tsv``; raise `StableQuantError` if the table cannot be read."""
    names = [f.name for f in fields(Utterance)]
    table = read_table(path, text=[name for name in names if name != "samples"])
    columns = (table[name].astype(object).where(table[name].notna(), None).tolist() for name in names)
    return [
        Utterance(
            *row[:-3],
            *(  # as text: pandas rounds numbers, and writes 1 as 1.0 beside blank cells
                None if cell is None else kind(float(cell))
                for kind, cell in zip((float, float, int), row[-3:], strict=True)
            ),
        )
        for row in zip(*columns, strict=True)
    ]


def load_audio(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Samples of an utterance, float32 ``(samples,)``, full scale is 1, at ``sample_rate`` (Hz).

    Raises
    ------
    StableQuantError
        when the recording cannot be read, or when it changed since it was listed.
    """
    path = Path(utterance.path)
    try:
        samples = _read(path, utterance, sample_rate)
    except AudioError as error:
        raise StableQuantError(
            utterance.path,
            str(error),
            "restore the file, or list the split again: snakemake --forcerun list_utterances",
        ) from error
    if _checksum(state_of(path)) != utterance.sha256:
        raise StableQuantError(
            utterance.path,
            "the audio changed since it was listed",
            "restore it, or measure again on the new audio: snakemake --forcerun list_utterances",
        )
    return samples


def _read(path: Path, utterance: Utterance, sample_rate: int) -> np.ndarray:
    """The samples of ``utterance``; of a part, the rest of the file is only decoded where it must be."""
    if utterance.start is not None and utterance.stop is not None:
        part = read_part(path, sample_rate, utterance.start, utterance.stop, utterance.channel)
        if part is not None:
            return part
    whole = read_audio(path, sample_rate, channel=utterance.channel).samples
    return cut(whole, sample_rate, utterance.start, utterance.stop)


@lru_cache(maxsize=10_000)  # many parts may lie in one file
def _checksum(state: FileState) -> str:
    """Checksum of a file in this state."""
    return checksum(state.path)


def score(utterances: Sequence[Utterance], hypotheses: Mapping[str, str]) -> WordErrors:
    """Word errors in the order of ``utterances``. ``hypotheses`` maps the key of each utterance to its hypothesis."""
    scored = word_errors([u.transcript for u in utterances], [hypotheses[u.key] for u in utterances])
    return replace(scored, speakers=speakers_of(u.speaker for u in utterances))


def speakers_of(speakers: Iterable[str | None]) -> np.ndarray | None:
    """The speaker of each utterance, str ``(utterances,)``; None unless all are known."""
    known = list(speakers)
    return None if None in known else np.array(known, dtype=str)


def check_disjoint(calibration: Sequence[Utterance], evaluation: Sequence[Utterance]) -> None:
    """Raise `StableQuantError` if ``evaluation`` contains audio of ``calibration``, found by checksum.

    Parts of one recording are different audio if they do not overlap, and so are its channels.

    Otherwise the test set would contain calibration audio.
    """
    calibrated: dict[str, list[Utterance]] = {}
    for utterance in calibration:
        calibrated.setdefault(utterance.sha256, []).append(utterance)
    shared = [(u, c) for u in evaluation if (c := next((c for c in calibrated.get(u.sha256, []) if _meet(u, c)), None))]
    if shared:
        found, same = shared[0]
        raise StableQuantError(
            found.key,
            f"the calibration split holds the same audio, {same.key} ({len(shared)} of "
            f"{len(evaluation)} evaluation utterances are such)",
            "leave them out of one of the splits",
        )


def _meet(one: Utterance, other: Utterance) -> bool:
    """Whether two utterances of the same file have audio in common."""
    if one.channel is not None and other.channel is not None and one.channel != other.channel:
        return False
    if one.start is None or one.stop is None or other.start is None or other.stop is None:
        return True
    return one.start < other.stop and other.start < one.stop
