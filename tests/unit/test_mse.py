"""The range of least squared error against brute force on the raw samples."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from stablequant.collection import HistogramCollector
from stablequant.histograms import Histogram
from stablequant.mse import clip, mse_amax, squared_error
from stablequant.ranges import percentile_amax

SAMPLES = 300_000


def draw(name: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    normal = rng.normal(size=SAMPLES)
    values = {
        "normal": normal,
        "laplace": rng.laplace(size=SAMPLES),
        "heavy-tailed": rng.standard_t(3, size=SAMPLES),
        "post-gelu": 2 * normal * 0.5 * (1 + erf(2 * normal / np.sqrt(2))),
    }[name]
    return values.astype(np.float32)


def histogram_of(values: np.ndarray) -> Histogram:
    collector = HistogramCollector()
    for part in np.array_split(values, 7):
        collector.collect(torch.from_numpy(part))
    return collector.histogram()


def quantization_error(values: np.ndarray, weights: np.ndarray, amax: float) -> float:
    """Mean squared error of plain fake quantization."""
    step = amax / 127
    levels = np.clip(np.rint(values / step), -127, 127)
    return float(np.average((levels * step - values) ** 2, weights=weights))


def spread(histogram: Histogram, points: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Many values in every bin, with weights: the histogram as plain samples again."""
    inside = (np.arange(points) + 0.5) / points
    values = (np.arange(len(histogram.counts))[:, None] + inside) * histogram.width
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
