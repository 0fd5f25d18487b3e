"""Utterances recognised at once, within a memory budget: of one length, or padded where that changes nothing."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.progress import progress
from stablequant.recognisers.sizes import Footprint

PADDING = 0.1  # largest share of a batch that may be padding: more costs more than the larger batch gains


def make_batches(
    utterances: Sequence[Utterance],
    memory: Footprint,
    budget: float,
    padded: bool = False,
    seed: int | None = None,
    most: float = math.inf,
) -> list[Batch]:
    """Batches whose hidden values take at most ``budget`` bytes, and of one utterance where that alone takes more; of
    ``most`` utterances at most.

    Inside one all utterances are equally long, or, if ``padded``, as long as leaves at most a tenth of the batch to
    padding. Short ones come first; with ``seed`` the batches come in a random order instead, and who shares one with
    whom is random among equally long utterances, so that the first batches are no speaker's alone.
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
    """Each batch with its recordings, float32 ``(samples,)`` each, showing progress as they are consumed."""
    with progress(total=sum(len(batch) for batch in batches), label=label) as recognised:
        for batch in batches:
            yield batch, [load_audio(utterance, sample_rate) for utterance in batch]
            recognised.update(len(batch))
