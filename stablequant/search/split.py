"""The calibration set in batches, as the search recognises it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance, read_utterances
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.recognisers.recogniser import Context, Recognised, Recogniser, State
from stablequant.recognisers.sizes import MEGABYTE
from stablequant.search.racing_order import split_at_decisions


@dataclass(frozen=True)
class Split:
    """The utterances of the calibration set.

    Attributes
    ----------
    utterances: in the order of their table
    batches: all utterances in batches, in a random order
    sample_rate: sample rate of the audio in Hz
    seed: seed for the order of the batches and for `sample`
    """

    utterances: list[Utterance]
    batches: list[Batch]
    sample_rate: int
    seed: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the utterances in their batches, in hexadecimal digits."""
        listed = "\n".join(f"{number} {u.key} {u.sha256}" for number, batch in enumerate(self.batches) for u in batch)
        return hashlib.sha256(listed.encode()).hexdigest()

    def sample(self, audio_seconds: float) -> list[Batch]:
        """Random utterances with a total length of ``audio_seconds``, or all if there is less, in their batches.

        The choice does not depend on the size of the batches.
        """
        return self._batches_of(self._drawn(audio_seconds))

    def other_sample(self, audio_seconds: float) -> list[Batch]:
        """The same of those that `sample` draws last, to judge what was fitted to those that it draws first."""
        return self._batches_of(self._drawn(audio_seconds, last=True))

    def halves(self, audio_seconds: float) -> tuple[list[Batch], list[Batch]]:
        """Two parts of ``audio_seconds`` each, or of half of the audio if there is less: `sample`, and another one.

        The other part has the utterances that `sample` draws last. A split with a single utterance has it in both.
        """
        audio_seconds = min(audio_seconds, sum(u.samples for u in self.utterances) / self.sample_rate / 2)
        first = self._drawn(audio_seconds)
        other = self._drawn(audio_seconds, last=True) - first or first
        return self._batches_of(first), self._batches_of(other)

    def _drawn(self, audio_seconds: float, last: bool = False) -> set[str]:
        """Keys of random utterances with a total length of ``audio_seconds``: the first of a random order, or last."""
        order = np.random.default_rng(self.seed).permutation(len(self.utterances))
        drawn = [self.utterances[i] for i in (order[::-1] if last else order)]
        before = accumulate((u.samples for u in drawn), initial=0)
        wanted = audio_seconds * self.sample_rate
        return {u.key for u, samples in zip(drawn, before, strict=False) if samples < wanted}

    def _batches_of(self, keys: set[str]) -> list[Batch]:
        parts = [[u for u in batch if u.key in keys] for batch in self.batches]
        return [part for part in parts if part]


def read_split(recogniser: Recogniser, utterances: Path, batch_mb: float, seed: int, raced: bool = False) -> Split:
    """The utterances of a table, in batches whose hidden values take at most ``batch_mb`` megabytes.

    If ``raced``, the utterances before each decision of racing are a random part of all utterances.
    """
    listed = read_utterances(utterances)
    batches = [
        batch
        for part in (split_at_decisions(listed, seed) if raced else [listed])
        for batch in recogniser.batches(part, batch_mb * MEGABYTE, seed)
    ]
    return Split(listed, batches, recogniser.front_end.sample_rate, seed)


def context_of(recogniser: Recogniser, batch: Batch) -> Context:
    """The context of ``batch``."""
    return recogniser.context([u.samples for u in batch])


def padded_samples(recogniser: Recogniser, batches: Sequence[Batch]) -> int:
    """Samples of audio in ``batches``, including padding."""
    return sum(context_of(recogniser, batch).samples for batch in batches)


def loaded(recogniser: Recogniser, batches: Sequence[Batch], label: str) -> Iterator[tuple[Batch, Context, State]]:
    """Each batch with its context and its audio. The progress bar is named ``label``.

    Raises `StableQuantError` if a recording cannot be read.
    """
    with progress(total=sum(len(batch) for batch in batches), label=label) as recognised:
        for batch in batches:
            yield batch, context_of(recogniser, batch), recogniser.load(batch)
            recognised.update(len(batch))


def check_finite(batch: Batch, recognised: Sequence[Recognised]) -> None:
    """Raise `StableQuantError` if posteriors contain NaN or infinity; it names the first such utterance."""
    for utterance, found in zip(batch, recognised, strict=True):
        if not np.isfinite(found.log_posteriors).all():
            raise StableQuantError(
                utterance.path, "the network's output contains NaN or infinity", "take an intact checkpoint"
            )
