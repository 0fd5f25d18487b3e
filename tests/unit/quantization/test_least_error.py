"""The range of least squared error against brute force on the raw samples."""

import numpy as np
import pytest
from distributions import draw, histogram_of

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import clip, clip_ends, mse_amax, mse_range, squared_error
from stablequant.quantization.ranges import percentile_amax, percentile_range


def quantization_error(values: np.ndarray, weights: np.ndarray, amax: float, centre: float = 0) -> float:
    """Mean squared error of plain fake quantization."""
    step = amax / 127
    levels = np.clip(np.rint((values - centre) / step), -127, 127)
    return float(np.average((levels * step + centre - values) ** 2, weights=weights))


def spread(histogram: Histogram, points: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Many values in every bin, with weights: the histogram as plain samples again."""
    inside = (np.arange(points) + 0.5) / points
    values = (histogram.start + np.arange(len(histogram.counts))[:, None] + inside) * histogram.width
    return values.ravel(), np.repeat(histogram.counts / points, points)


@pytest.mark.parametrize("name", ["normal", "laplace", "heavy-tailed", "post-gelu"])
@pytest.mark.parametrize("percentile", [100, 99.9])
def test_equals_brute_force_over_a_dense_grid_to_one_bin(name, percentile):
    whole = histogram_of(draw(name))
    histogram = clip(whole, percentile_amax(whole, percentile))
    values, weights = spread(histogram)
    found = mse_amax(histogram)
    grid = np.arange(0.8 * found, min(1.2 * found, histogram.edges[-1]) + histogram.width, histogram.width / 2)
    best = grid[np.argmin([quantization_error(values, weights, amax) for amax in grid])]
    assert abs(found - best) <= histogram.width * 1.001


@pytest.mark.parametrize("name", ["normal", "laplace", "heavy-tailed", "post-gelu"])
def test_is_as_good_on_the_raw_samples_as_brute_force_on_them(name):
    values = draw(name)
    ones = np.ones(len(values))
    grid = np.linspace(0.05, 1, 400) * np.abs(values).max()
    least = min(quantization_error(values, ones, amax) for amax in grid)
    assert quantization_error(values, ones, mse_amax(histogram_of(values))) <= least * 1.002


@pytest.mark.parametrize("name", ["normal", "heavy-tailed", "post-gelu"])
def test_trying_few_edges_first_misses_nothing(name):
    histogram = histogram_of(draw(name))
    every = histogram.edges[1:]
    errors = np.concatenate([squared_error(histogram, every[i : i + 256]) for i in range(0, len(every), 256)])
    assert mse_amax(histogram) == pytest.approx(every[np.argmin(errors)])


def test_error_of_one_bin_by_hand():
    """Values spread over [0, 1) and a step of 1: half round to 0, half to 1; the mean squared error is 1/12."""
    histogram = Histogram(np.array([10]), 1.0, 1.0)
    assert squared_error(histogram, np.array([127.0])) == pytest.approx(1 / 12)


def test_clamping_counts():
    """All values near 10 and a range of 1: each is off by about 9."""
    counts = np.zeros(1000, dtype=np.int64)
    counts[-1] = 5
    error = squared_error(Histogram(counts, 0.01, 10.0), np.array([1.0]))
    assert error == pytest.approx(9.0**2, rel=0.01)


def test_clipping_keeps_every_value():
    histogram = histogram_of(draw("laplace"))
    clipped = clip(histogram, histogram.amax / 3)
    assert clipped.counts.sum() == histogram.counts.sum()
    assert len(clipped.counts) == round(histogram.amax / 3 / histogram.width)


def test_dead_activation_has_no_range():
    assert mse_amax(histogram_of(np.zeros(100, dtype=np.float32))) == 0


@pytest.mark.parametrize("name", ["normal", "heavy-tailed", "post-gelu"])
@pytest.mark.parametrize("percentile", [100, 99.9])
def test_a_range_around_its_own_centre_is_as_good_as_brute_force_over_both_ends(name, percentile):
    whole = histogram_of(draw(name)[::10], signed=True)
    histogram = clip_ends(whole, percentile_range(whole, percentile))
    values, weights = spread(histogram, points=4)
    found = mse_range(whole, percentile)
    lows, highs = histogram.edges[0] * np.linspace(0.1, 1, 25), histogram.edges[-1] * np.linspace(0.1, 1, 25)
    tried = [Range(low, high) for low in lows for high in highs]
    errors = [quantization_error(values, weights, r.amax, r.centre) for r in tried]
    assert quantization_error(values, weights, found.amax, found.centre) <= 1.01 * min(errors)


def test_one_sided_values_get_nearly_twice_the_levels():
    """Quantized around 0, half of the levels lie where post-GELU activations have nothing."""
    values = draw("post-gelu")
    around_zero, around_their_middle = (mse_range(histogram_of(values, signed)) for signed in (False, True))
    assert around_their_middle.scale < 0.6 * around_zero.scale
    assert around_their_middle.low <= values.min() / 2
    ones = np.ones(len(values))
    better = quantization_error(values, ones, around_their_middle.amax, around_their_middle.centre)
    assert better < 0.4 * quantization_error(values, ones, around_zero.amax)


def test_error_around_a_centre_is_that_of_the_shifted_values():
    histogram = Histogram(np.array([3, 1, 0, 2]), 0.5, 1.5, first=-2)
    shifted = Histogram(histogram.counts, 0.5, 2.5, first=0)
    assert histogram.edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    found = squared_error(histogram, np.array([0.3, 2.0]), np.array([-1.0, -1.0]))
    assert found == pytest.approx(squared_error(shifted, np.array([0.3, 2.0])))


def test_clipping_both_ends_keeps_every_value():
    histogram = histogram_of(draw("laplace"), signed=True)
    clipped = clip_ends(histogram, Range(-3 * histogram.width, 5 * histogram.width))
    assert clipped.counts.sum() == histogram.counts.sum()
    assert clipped.edges[[0, -1]] == pytest.approx([-3 * histogram.width, 5 * histogram.width])


@pytest.mark.parametrize("signed", [False, True])
def test_dead_and_constant_activations(signed):
    assert mse_range(histogram_of(np.zeros(100, dtype=np.float32), signed)).scale == 1
    constant = mse_range(histogram_of(np.full(100, 0.3, dtype=np.float32), signed))
    assert constant.low - constant.scale <= 0.3 <= constant.high + constant.scale
