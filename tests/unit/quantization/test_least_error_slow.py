"""The range of least squared error against brute force on the raw samples, over dense grids."""

import numpy as np
import pytest
from distributions import draw, histogram_of, quantization_error, spread

from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import clip, mse_amax, mse_range, squared_error
from stablequant.quantization.ranges import percentile_amax, percentile_range

pytestmark = pytest.mark.slow_unit


@pytest.mark.parametrize("name", ["normal", "laplace", "heavy-tailed", "post-gelu"])
@pytest.mark.parametrize("percentile", [100, 99.9])
def test_loses_no_more_than_brute_force_over_a_dense_grid(name, percentile):
    whole = histogram_of(draw(name))
    histogram = clip(whole, 0.0, percentile_amax(whole, percentile))
    values, weights = spread(histogram)
    found = mse_amax(histogram)
    grid = np.minimum(np.linspace(0.8, 1.2, 400) * found, histogram.amax)
    least = min(quantization_error(values, weights, amax) for amax in grid)
    assert quantization_error(values, weights, found) <= least * 1.0005


@pytest.mark.parametrize("name", ["normal", "laplace", "heavy-tailed", "post-gelu"])
def test_is_as_good_on_the_raw_samples_as_brute_force_on_them(name):
    values = draw(name)
    ones = np.ones(len(values))
    grid = np.linspace(0.05, 1, 400) * np.abs(values).max()
    least = min(quantization_error(values, ones, amax) for amax in grid)
    assert quantization_error(values, ones, mse_amax(histogram_of(values))) <= least * 1.002


@pytest.mark.parametrize("name", ["normal", "heavy-tailed", "post-gelu"])
def test_trying_few_ranges_first_misses_nothing(name):
    histogram = histogram_of(draw(name))
    every = np.linspace(0.0005, 1, 20_000) * histogram.amax
    errors = np.concatenate([squared_error(histogram, every[i : i + 256]) for i in range(0, len(every), 256)])
    assert squared_error(histogram, np.array([mse_amax(histogram)])) <= errors.min() * 1.0001


@pytest.mark.parametrize("name", ["normal", "heavy-tailed", "post-gelu"])
@pytest.mark.parametrize("percentile", [100, 99.9])
def test_a_range_around_its_own_centre_is_as_good_as_brute_force_over_both_ends(name, percentile):
    whole = histogram_of(draw(name)[::10], signed=True)
    cut = percentile_range(whole, percentile)
    histogram = clip(whole, cut.low, cut.high)
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
