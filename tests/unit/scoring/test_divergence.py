"""Divergence against a worked case and SciPy."""

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from stablequant.scoring.divergence import divergence


def test_divergence_by_hand():
    """From (1/2, 1/2) to (1/4, 3/4), in two frames: twice ln 2 / 2 + ln (2/3) / 2."""
    reference = np.log(np.array([[0.5, 0.5]] * 2))
    quantized = np.log(np.array([[0.25, 0.75]] * 2))
    assert divergence(reference, quantized) == pytest.approx(np.log(2) + np.log(2 / 3))
    assert divergence(reference, reference) == 0


def test_divergence_is_scipys_and_has_a_direction():
    draw = np.random.default_rng(0)
    expected, found = (log_softmax(3 * draw.normal(size=(20, 7)), axis=-1) for _ in range(2))
    assert divergence(expected, found) == pytest.approx(rel_entr(np.exp(expected), np.exp(found)).sum())
    assert divergence(expected, found) != pytest.approx(divergence(found, expected))
