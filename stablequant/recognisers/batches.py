"""Batches of utterances within a memory budget: of equal length, or padded if padding changes no results."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.progress import progress
from stablequant.recognisers.sizes import Footprint

PADDING = 0.1  # largest share of padding in a batch; more padding costs more time than the larger batch saves


def make_batches(
    utterances: Sequence[Utterance],
    memory: Footprint,
    budget: float,
    padded: bool = False,
    seed: int | None = None,
    most: float = math.inf,
) -> list[Batch]:
    """Batches whose hidden values take at most ``budget`` bytes, with at most ``most`` utterances each.

    An utterance that alone needs more than ``budget`` becomes a batch of its own. All utterances in a batch have the
    same length. If ``padded``, lengths may differ, but at most a tenth of a batch is padding.

    Short utterances come first. With ``seed``, the batches come in a random order instead. Which of the equally long
    utterances share a batch is then random too, so that the first batches contain several speakers.
    """
    draw = None if seed is None else np.random.default_rng(seed)
    drawn = list(utterances) if draw is None else [utterances[i] for i in draw.permutation(len(utterances))]
    batches: list[Batch] = []
    for utterance in sorted(drawn, key=lambda u: u.samples):
        if not batches or len(batches[-1]) >= most or not _fits(batches[-1], utterance, memory, budget, padded):
            batches.append([])
        batches[-1].append(utterance)
    return batches if draw is None else [batches[i] for i in draw.permutation(len(batches))]


def _fits(batch: Batch, longest: Utterance, memory: Footprint, budget: float, padded: bool) -> bool:
    rows = len(batch) + 1
    if rows * memory.bytes(longest.samples) > budget:
        return False
    if not padded:
        return longest.samples == batch[0].samples
    audio = sum(u.samples for u in batch) + longest.samples
    return audio >= (1 - PADDING) * rows * longest.samples


def loaded(batches: Sequence[Batch], sample_rate: int, label: str) -> Iterator[tuple[Batch, list[np.ndarray]]]:
    """Each batch with its recordings, float32 ``(samples,)`` each. The progress bar is named ``label``.

    Raises `StableQuantError` if a recording cannot be read, or if it changed since it was listed.
    """
    with progress(total=sum(len(batch) for batch in batches), label=label) as recognised:
        for batch in batches:
            yield batch, [load_audio(utterance, sample_rate) for utterance in batch]
            recognised.update(len(batch))
