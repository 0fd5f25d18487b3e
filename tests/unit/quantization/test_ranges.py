"""Maximum, percentile and entropy against NVIDIA's pytorch-quantization on the same histograms."""

import numpy as np
import pytest
import torch
from distributions import NAMES, draw, evenly, histogram_of
from pytorch_quantization.calib import MaxCalibrator
from pytorch_quantization.calib.histogram import _compute_amax_entropy, _compute_amax_percentile
from scipy.stats import entropy

from stablequant.quantization.histograms import TINIEST, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import (
    _relative_entropy,
    entropy_amax,
    full_range,
    percentile_amax,
    percentile_range,
)

DEAD = Histogram(np.array([4]), np.array([0, TINIEST]))


@pytest.mark.parametrize("name", NAMES)
def test_entropy(name):
    """Few bins, for the sake of the oracle's nested loops in Python."""
    histogram = histogram_of(draw(name))
    equal = histogram.rebinned(500)
    expected = _compute_amax_entropy(equal.counts.copy(), equal.edges, 8, False, 1, 128)
    assert entropy_amax(histogram, 500) == pytest.approx(expected.item())


@pytest.mark.parametrize("name", NAMES)
def test_entropy_is_nearly_that_of_the_samples_in_equal_bins(name):
    values = np.abs(draw(name))
    counts, edges = np.histogram(values, bins=4096, range=(0, values.max()))
    assert entropy_amax(histogram_of(values)) == pytest.approx(entropy_amax(Histogram(counts, edges)), rel=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("percentile", [99.999, 99.99, 99.9, 99.0, 90.0])
def test_percentile(name, percentile):
    """The oracle takes the lower edge of the bin in which the percentile lies."""
    histogram = histogram_of(draw(name))
    lower = _compute_amax_percentile(histogram.counts, histogram.edges, percentile).item()
    upper = histogram.edges[np.searchsorted(histogram.edges, lower * (1 + 1e-6), side="right")]
    assert lower <= percentile_amax(histogram, percentile) <= upper


@pytest.mark.parametrize("name", NAMES)
def test_percentile_of_the_samples_themselves(name):
    """The oracle is NumPy's percentile. A bin holds hundreds of values there, so interpolation makes it finer."""
    values = draw(name)
    histogram = histogram_of(values)
    for percentile in (99.0, 90.0):
        exact = np.percentile(np.abs(values), percentile)
        assert percentile_amax(histogram, percentile) == pytest.approx(exact, rel=0.0005)


@pytest.mark.parametrize("name", NAMES)
def test_maximum(name):
    values = draw(name)
    oracle = MaxCalibrator(8, None, False)
    for part in np.array_split(values, 3):
        oracle.collect(torch.from_numpy(part))
    assert histogram_of(values).amax == oracle.compute_amax().item()
    assert percentile_amax(histogram_of(values), 100) == oracle.compute_amax().item()


@pytest.mark.parametrize("name", NAMES)
def test_ends_of_signed_values_are_those_of_the_samples(name):
    values = draw(name)
    histogram = histogram_of(values, signed=True)
    whole = full_range(histogram)
    assert (whole.low, whole.high) == (values.min(), values.max())
    for percentile in (99.9, 99.0, 90.0):
        found = percentile_range(histogram, percentile)
        tail = (100 - percentile) / 2
        expected = np.percentile(values, [tail, 100 - tail])
        assert (found.low, found.high) == pytest.approx(expected, rel=2**-8)
    assert percentile_range(histogram, 100) == whole


def test_magnitudes_give_ranges_around_0():
    histogram = histogram_of(draw("post-gelu"))
    for found in (full_range(histogram), percentile_range(histogram, 99.0)):
        assert found.centre == 0
        assert found.low == -found.high == -found.amax


def test_entropy_and_percentile_of_few_bins_by_hand():
    """With up to 128 bins there is nothing to merge: all that was seen is taken."""
    few = evenly(np.arange(1, 129), 0.5)
    assert entropy_amax(few, 128) == 64
    counts = np.zeros(200, dtype=np.int64)
    counts[:2] = 10
    assert entropy_amax(evenly(counts, 0.5), 200) == 100.0, "of equals the widest"
    assert entropy_amax(DEAD) == 0
    quarters = evenly(np.array([1, 1, 1, 1]), 0.5)
    assert [percentile_amax(quarters, p) for p in (100, 75, 50, 25, 1)] == [2.0, 1.5, 1.0, 0.5, 0.02]
    assert percentile_amax(Histogram(np.array([1, 0, 1]), np.array([0, 1.0, 3, 4])), 50) == 1, (
        "where the lower half ends"
    )
    assert percentile_range(quarters, 75) == Range.symmetric(1.5)
    split = Histogram(quarters.counts, quarters.edges, split=True)
    assert percentile_range(split, 75) == Range.symmetric(1.5, split=True)
    assert full_range(split) == Range.symmetric(2.0, split=True)


def test_ends_of_signed_bins_by_hand():
    """A tenth of the values in each bin from -2 to 3, in bins of a half."""
    histogram = evenly(np.ones(10, dtype=np.int64), 0.5, first=-4, signed=True)
    assert full_range(histogram) == percentile_range(histogram, 100) == Range(-2.0, 3.0)
    found = percentile_range(histogram, 70)
    assert (found.low, found.high) == pytest.approx((-1.25, 2.25)), "15 % may lie beyond either end, a bin holds 10 %"
    found = percentile_range(histogram, 99)
    assert (found.low, found.high) == pytest.approx((-1.975, 2.975))


@pytest.mark.parametrize("signed", [False, True])
def test_nothing_is_clipped_where_nothing_but_zeros_would_be_left(signed):
    values = np.zeros(1000, dtype=np.float32)
    values[:5] = np.linspace(0.1, 3, 5)
    histogram = histogram_of(values, signed)
    assert percentile_range(histogram, 98) == full_range(histogram)
    assert 0 < percentile_range(histogram, 99.9).high < 3
    assert percentile_range(histogram_of(-values, signed), 98) == full_range(histogram_of(-values, signed))
    assert percentile_range(DEAD, 99.9).amax == full_range(DEAD).amax == 0


@pytest.mark.parametrize("zeros", [9, 10, 50])
def test_0_is_a_level_where_a_tenth_of_the_values_are_0(zeros):
    """Else each of them is a tie, and off by half a step."""
    values = np.concatenate([np.linspace(-0.51, 2, 100 - zeros), np.zeros(zeros)]).astype(np.float32)
    histogram = histogram_of(values, signed=True)
    for found in (full_range(histogram), percentile_range(histogram, 90)):
        place = (0 - found.centre) / found.scale
        assert found.zero_level == (zeros >= 10)
        assert abs(place - round(place)) == pytest.approx(0 if zeros >= 10 else 0.5, abs=1e-4)
    assert not full_range(histogram_of(values)).zero_level, "around 0 it is one anyway"


def test_relative_entropy_is_scipys_also_of_bins_with_one_value():
    reference, candidate = np.array([1.0, 1, 0, 5, 1, 0]), np.array([2.0, 1, 3, 0.5, 1, 0])
    assert _relative_entropy(reference, candidate) == pytest.approx(entropy(reference, candidate))
    assert _relative_entropy(reference, np.array([2.0, 1, 3, 0, 1, 0])) == np.inf
    assert _relative_entropy(reference, np.zeros(6)) == np.inf
    ones = np.array([1.0, 1, 1, 0])
    assert _relative_entropy(ones, np.array([3.0, 1, 2, 9])) == pytest.approx(entropy(ones, [3, 1, 2, 9]))
