"""Noise to be recognised where only speed or rounding is measured."""

import numpy as np

RATE = 16_000  # samples per second


def noise(utterances: int, seconds: float) -> np.ndarray:
    """Audio ``(utterances, samples)``, float32, the same each time."""
    return np.random.default_rng(0).standard_normal((utterances, int(seconds * RATE))).astype(np.float32)
