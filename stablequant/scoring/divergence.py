"""Divergence of posteriors from those of fp32."""

import numpy as np


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Kullback-Leibler divergence of ``found`` from ``expected``, in nats summed over positions.

    Both are log posteriors ``(positions, classes)``.
    """
    return float((np.exp(expected) * (expected - found)).sum(dtype=np.float64))
