"""Confidence interval of the difference between two word error rates."""

import numpy as np

from stablequant.scoring.word_errors import WordErrors

RESAMPLES = 10_000
CHUNK = 2**22  # utterances or speakers drawn at once, to limit memory
NORMAL = 1.96  # 97.5 % quantile of the normal distribution
STUDENT = [  # the same of Student's t distribution, for 1, 2, ... 30 degrees of freedom
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
]


def degradation_interval(quantized: WordErrors, reference: WordErrors, seed: int) -> tuple[float, float]:
    """95 % interval of the degradation: its low and its high end, in percentage points.

    It is a paired bootstrap (Bisani and Ney, ICASSP 2004). Utterances of one speaker are not independent of each other,
    so whole speakers are drawn, with all their utterances, if ``reference`` knows several; otherwise utterances (see
    `WordErrors.drawn`). Intervals of a few draws are too narrow, so they are widened by `widening`. The interval over
    speakers is never narrower than that over utterances at either end. ``seed`` is for the draws.
    """
    low, high = utterance_interval(quantized, reference, seed)
    difference, words = quantized.errors - reference.errors, reference.words
    if reference.speakers is not None and reference.drawn == "speakers":
        _, speaker = np.unique(reference.speakers, return_inverse=True)
        by_speaker = [np.bincount(speaker, weights=counts) for counts in (difference, words)]
        further = _interval(by_speaker[0], by_speaker[1], seed)
        low, high = min(low, further[0]), max(high, further[1])
    return low, high


def utterance_interval(quantized: WordErrors, reference: WordErrors, seed: int) -> tuple[float, float]:
    """The same over utterances, whoever speaks: how sure the degradation of these speakers is."""
    return _interval(quantized.errors - reference.errors, reference.words, seed)


def widening(drawn: int) -> float:
    """By how much the 95 % interval of a bootstrap is too narrow that draws so many utterances or speakers.

    Their mean varies by n / (n - 1) more than the draws do, and their number says how well this is known: Student's t
    in place of the normal distribution (Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 2015, section 5.3). It is 9.2 for two, 1.2 for nine, 1.05 for forty. A single one is not widened: its
    interval says nothing.
    """
    if drawn == 1:
        return 1.0
    freedom = drawn - 1
    student = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL + (NORMAL**3 + NORMAL) / (4 * freedom)
    return student / NORMAL * float(np.sqrt(drawn / freedom))


def _interval(difference: np.ndarray, words: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of 100 x ``difference`` / ``words``, summed over utterances or speakers, each ``(drawn,)``."""
    draws = np.random.default_rng(seed)
    points = []
    for size in _chunks(RESAMPLES, max(1, CHUNK // len(difference))):
        drawn = draws.integers(len(difference), size=(size, len(difference)))
        points.append(100 * difference[drawn].sum(axis=1) / words[drawn].sum(axis=1))
    measured = 100 * float(difference.sum()) / float(words.sum())
    low, high = measured + widening(len(difference)) * (np.percentile(np.concatenate(points), [2.5, 97.5]) - measured)
    return float(low), float(high)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
