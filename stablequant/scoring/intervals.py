"""Confidence interval of the difference between two word error rates."""

import numpy as np

from stablequant.scoring.word_errors import WordErrors

RESAMPLES = 10_000
CHUNK = 2**22  # utterances or speakers drawn at once, to limit memory


def degradation_interval(quantized: WordErrors, reference: WordErrors, seed: int) -> tuple[float, float]:
    """95 % interval of the degradation: its low and its high end, in percentage points.

    It is a paired bootstrap (Bisani and Ney, ICASSP 2004). Utterances of one speaker are not independent of each other,
    so whole speakers are drawn, with all their utterances, if ``reference`` knows several; otherwise utterances (see
    `WordErrors.drawn`). ``seed`` is for the draws.
    """
    difference, words = quantized.errors - reference.errors, reference.words
    if reference.speakers is not None and reference.drawn == "speakers":
        _, speaker = np.unique(reference.speakers, return_inverse=True)
        difference, words = (np.bincount(speaker, weights=counts) for counts in (difference, words))
    draws = np.random.default_rng(seed)
    points = []
    for size in _chunks(RESAMPLES, max(1, CHUNK // len(difference))):
        drawn = draws.integers(len(difference), size=(size, len(difference)))
        points.append(100 * difference[drawn].sum(axis=1) / words[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(points), [2.5, 97.5])
    return float(low), float(high)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
