"""Maximum, percentile and entropy against NVIDIA's pytorch-quantization on the same histograms."""

import numpy as np
import pytest
import torch
from distributions import NAMES, draw, histogram_of
from pytorch_quantization.calib import MaxCalibrator
from pytorch_quantization.calib.histogram import _compute_amax_entropy, _compute_amax_percentile
from scipy.stats import entropy

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import (
    _relative_entropy,
    entropy_amax,
    full_range,
    percentile_amax,
    percentile_range,
)


def coarse(values: np.ndarray):
    """A histogram small enough for the oracle's nested Python loops."""
    histogram = histogram_of(values)
    merge = max(1, len(histogram.counts) // 500)
    kept = len(histogram.counts) // merge * merge
    counts = histogram.counts[:kept].reshape(-1, merge).sum(axis=1)
    return type(histogram)(counts, histogram.width * merge, histogram.width * kept)


@pytest.mark.parametrize("name", NAMES)
def test_entropy(name):
    histogram = coarse(draw(name))
    expected = _compute_amax_entropy(histogram.counts.copy(), histogram.edges, 8, False, 1, 128)
    assert entropy_amax(histogram) == pytest.approx(expected.item())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("percentile", [99.999, 99.99, 99.9, 99.0, 90.0])
def test_percentile(name, percentile):
    histogram = histogram_of(draw(name))
    expected = _compute_amax_percentile(histogram.counts, histogram.edges, percentile)
    assert percentile_amax(histogram, percentile) == pytest.approx(expected.item())


@pytest.mark.parametrize("name", NAMES)
def test_percentile_of_the_samples_themselves(name):
    """The oracle is NumPy's percentile, to one bin."""
    values = draw(name)
    histogram = histogram_of(values)
    for percentile in (99.9, 99.0):
        exact = np.percentile(np.abs(values), percentile)
        assert abs(percentile_amax(histogram, percentile) - exact) <= 1.01 * histogram.width


@pytest.mark.parametrize("name", NAMES)
def test_maximum(name):
    values = draw(name)
    oracle = MaxCalibrator(8, None, False)
    for part in np.array_split(values, 3):
        oracle.collect(torch.from_numpy(part))
    assert histogram_of(values).amax == oracle.compute_amax().item()
    assert percentile_amax(histogram_of(values), 100) == oracle.compute_amax().item()


@pytest.mark.parametrize("name", NAMES)
def test_ends_of_signed_values_are_those_of_the_samples_to_one_bin(name):
    values = draw(name)
    histogram = histogram_of(values, signed=True)
    whole = full_range(histogram)
    assert max(-whole.low, whole.high) == np.abs(values).max()
    assert (whole.low, whole.high) == pytest.approx((values.min(), values.max()), abs=1.01 * histogram.width)
    for percentile in (99.9, 99.0, 90.0):
        found = percentile_range(histogram, percentile)
        tail = (100 - percentile) / 2
        within = 1.01 * histogram.width
        for outside, outside_a_bin_less in (
            (values < found.low, values < found.low + within),
            (values > found.high, values > found.high - within),
        ):
            assert 100 * np.mean(outside) - 1e-9 <= tail <= 100 * np.mean(outside_a_bin_less) + 1e-9
    assert percentile_range(histogram, 100) == whole


def test_magnitudes_give_ranges_around_0():
    histogram = histogram_of(draw("post-gelu"))
    for found in (full_range(histogram), percentile_range(histogram, 99.0)):
        assert found.centre == 0
        assert found.low == -found.high == -found.amax


def test_entropy_and_percentile_of_few_bins_by_hand():
    """Up to 128 bins there is nothing to merge: all that was seen is taken."""
    few = Histogram(np.arange(1, 129), 0.5, 63.9)
    assert entropy_amax(few) == 63.9
    counts = np.zeros(200, dtype=np.int64)
    counts[:2] = 10
    assert entropy_amax(Histogram(counts, 0.5, 99.9)) == 100.0, "of equals the widest"
    quarters = Histogram(np.array([1, 1, 1, 1]), 0.5, 1.9)
    assert [percentile_amax(quarters, p) for p in (100, 75, 50, 25, 1)] == [1.9, 1.0, 0.5, 0.5, 0.5]
    assert percentile_range(quarters, 75) == Range.symmetric(1.0)
    split = Histogram(quarters.counts, 0.5, 1.9, split=True)
    assert percentile_range(split, 75) == Range.symmetric(1.0, split=True)
    assert full_range(split) == Range.symmetric(1.9, split=True)


def test_ends_of_signed_bins_by_hand():
    """A tenth of the values in each bin from -2 to 3, in bins of a half."""
    histogram = Histogram(np.ones(10, dtype=np.int64), 0.5, 2.9, first=-4)
    assert full_range(histogram) == Range(-2.0, 2.9)
    assert percentile_range(histogram, 100) == Range(-2.0, 2.9)
    assert percentile_range(histogram, 70) == Range(-1.5, 2.5), "15 % may lie beyond either end, a bin holds 10 %"
    assert percentile_range(histogram, 50) == Range(-1.0, 2.0)
    assert percentile_range(histogram, 99) == Range(-2.0, 2.9)
    below = Histogram(np.ones(4, dtype=np.int64), 0.5, 1.8, first=-4)
    assert full_range(below) == Range(-1.8, 0.0), "the farther end exactly"


def test_relative_entropy_is_scipys_also_of_bins_with_one_value():
    reference, candidate = np.array([1.0, 1, 0, 5, 1, 0]), np.array([2.0, 1, 3, 0.5, 1, 0])
    assert _relative_entropy(reference, candidate) == pytest.approx(entropy(reference, candidate))
    assert _relative_entropy(reference, np.array([2.0, 1, 3, 0, 1, 0])) == np.inf
    assert _relative_entropy(reference, np.zeros(6)) == np.inf
