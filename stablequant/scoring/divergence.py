"""Divergence of posteriors from those of fp32."""

import numpy as np


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Kullback-Leibler divergence of ``found`` from ``expected``, in nats summed over positions.

    Both are log posteriors ``(positions, classes)``.
    """
    return float((np.exp(expected) * (expected - found)).sum(dtype=np.float64))


def most_likely(log_posteriors: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` most likely classes at each position, int32 ``(positions, count)``, in any order."""
    chosen: np.ndarray = np.argpartition(log_posteriors, -count, axis=1)[:, -count:].astype(np.int32)
    return chosen


def summarised(log_posteriors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The log posteriors of ``classes`` ``(positions, count)``, and of all others together in one more column.

    With all other classes together, the divergence is at most smaller than with each by itself, and hardly so if
    ``classes`` hold nearly all probability of fp32.
    """
    others = np.exp(log_posteriors, dtype=np.float64)
    np.put_along_axis(others, classes, 0, axis=1)
    rest = np.log(np.maximum(others.sum(axis=1), np.finfo(np.float32).tiny))
    chosen = np.take_along_axis(log_posteriors, classes, axis=1)
    return np.concatenate([chosen, rest[:, None]], axis=1, dtype=np.float32, casting="same_kind")
