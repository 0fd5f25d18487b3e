"""Evaluate an engine: recognise the evaluation set with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from stablequant.corpora.utterance import Batch, Utterance, score
from stablequant.engines.running import Stopwatch
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.decoder import Decoder, NotFiniteError
from stablequant.scoring.word_errors import WordErrors


@dataclass(frozen=True)
class Evaluation:
    """What one engine recognised in a split.

    Attributes
    ----------
    scored: word errors by utterance
    hypotheses: by key of the utterance
    audio_seconds: length of the audio
    wall_seconds: time inside the engine only
    """

    scored: WordErrors
    hypotheses: dict[str, str]
    audio_seconds: float
    wall_seconds: float


def evaluate(
    decoder: Decoder,
    clock: Stopwatch,
    utterances: Sequence[Utterance],
    batches: Sequence[Batch],
    sample_rate: int,
) -> Evaluation:
    """Recognise ``batches``, which contain all ``utterances``.

    ``clock`` measures the time inside the decoder's networks. ``sample_rate`` is in Hz.

    Raises `StableQuantError` as `recognise` does.
    """
    start = clock.seconds
    hypotheses = recognise(decoder, batches, sample_rate, "recognising")
    audio_seconds = sum(u.samples for u in utterances) / sample_rate
    return Evaluation(score(utterances, hypotheses), hypotheses, audio_seconds, clock.seconds - start)


def recognise(decoder: Decoder, batches: Sequence[Batch], sample_rate: int, label: str) -> dict[str, str]:
    """Hypotheses by key of the utterance. ``label`` names the progress.

    Raises
    ------
    StableQuantError
        when the network's output contains NaN or infinity, when a recording cannot be read, or when it changed since it
        was listed.
    """
    hypotheses: dict[str, str] = {}
    for batch, audio in loaded(batches, sample_rate, label):
        try:
            found = decoder.recognise(audio)
        except NotFiniteError as error:
            raise StableQuantError(
                batch[error.row].path, "the network's output contains NaN or infinity", "take an intact checkpoint"
            ) from error
        hypotheses |= {u.key: text for u, text in zip(batch, found, strict=True)}
    return hypotheses


def hypothesis_table(utterances: Sequence[Utterance], hypotheses: Mapping[str, str]) -> pd.DataFrame:
    """A table with the columns ``utterance transcript hypothesis``, without utterances that have no hypothesis."""
    rows = [(u.utterance, u.transcript, hypotheses[u.key]) for u in utterances if u.key in hypotheses]
    return pd.DataFrame(rows, columns=["utterance", "transcript", "hypothesis"])
