"""The range of least squared error against brute force on the raw samples."""

import numpy as np
import pytest
from distributions import binned, draw, histogram_of, quantization_error, spread

from stablequant.quantization import least_error
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import clip, clip_ends, mse_amax, mse_range, squared_error
from stablequant.quantization.ranges import percentile_amax


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


def piecewise(*parts: tuple[float, float, int], width: float = 0.01, signed: bool = True) -> Histogram:
    """``count`` values spread evenly from ``low`` to ``high``, for each of the ``parts`` (low, high, count)."""
    first, last = round(min(low for low, _, _ in parts) / width), round(max(high for _, high, _ in parts) / width)
    first = first if signed else 0
    counts = np.zeros(last - first, dtype=np.int64)
    for low, high, count in parts:
        start, stop = round(low / width) - first, round(high / width) - first
        counts[start:stop] += count // (stop - start)
    return Histogram(counts, width, max(abs(first), abs(last)) * width, first if signed else None)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-1.0, 2.0), (-0.2, 1.0)])
def test_both_ends_come_to_where_the_values_end(low, high):
    """But for a few, which lie 30 % farther: nothing is gained by a range that holds them, nor by one that is smaller.

    That is at no end that is tried first, in steps of 5 %.
    """
    few = [(1.3 * low, 1.3 * low + 0.01, 1), (1.3 * high - 0.01, 1.3 * high, 1)]
    found = mse_range(piecewise((low, high, 10_000_000), *few))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004 * (high - low))


def test_both_ends_are_as_good_as_any_pair_on_a_fine_grid():
    """Skewed values; the error of a pair is that of many values in every bin, quantized one by one."""
    values = np.random.default_rng(0).gamma(2, size=4000).astype(np.float32) - 0.5
    histogram = binned(values, 0.05, signed=True)
    found = mse_range(histogram)
    many, weights = spread(histogram, points=50)
    ends = np.linspace(0.5, 1.02, 27)
    tried = [(found.low * a, found.high * b) for a in ends + 0.3 for b in ends + 0.3]
    errors = [quantization_error(many, weights, Range(*pair).amax, Range(*pair).centre) for pair in tried]
    assert quantization_error(many, weights, found.amax, found.centre) <= 1.005 * min(errors)


@pytest.mark.parametrize("percentile", [100, 99, 90])
def test_magnitudes_are_clipped_first_and_then_as_good_as_any_edge(percentile):
    """Of 700 bins each edge is tried on values spread over the bins."""
    values = np.abs(np.random.default_rng(0).standard_t(3, size=20_000))
    counts, edges = np.histogram(values, bins=700)
    histogram = Histogram(counts, edges[-1] / 700, float(values.max()))
    found = mse_range(histogram, percentile)
    assert found.low == -found.high
    many, weights = spread(histogram, points=20)
    cut = percentile_amax(histogram, percentile)
    beyond = many > cut
    many[beyond] = cut - (many[beyond] % histogram.width)  # spread over the last bin that stays
    around = edges[1:][np.abs(edges[1:] - found.high) < 20 * histogram.width]
    tried = [*around[around < cut * 1.0001], *np.linspace(0.05, 1, 40) * cut]
    errors = [quantization_error(many, weights, amax) for amax in tried]
    assert quantization_error(many, weights, found.high) <= 1.002 * min(errors)
    assert found.high <= cut


def test_the_error_of_a_flat_histogram_by_hand():
    """Values evenly from -2 to 2: with 127 steps to either side the error is step^2 / 12; beyond the range's end the
    distance to the end counts."""
    flat = piecewise((-2, 2, 400))
    found = squared_error(flat, np.array([2.0, 1.0]))
    assert found[0] == pytest.approx((2 / 127) ** 2 / 12, rel=0.02)
    assert found[1] == pytest.approx((1 / 127) ** 2 / 24 + 0.5 / 3, rel=1e-3)
    assert squared_error(flat, np.array([1.0]), np.array([1.0])) == pytest.approx(
        (1 / 127) ** 2 / 24 + 0.5 * 4 / 3, rel=1e-3
    )


def test_candidates_are_evaluated_a_few_at_once_and_give_the_same(monkeypatch):
    histogram = binned(draw("laplace")[::50], 0.01)
    signed = binned(draw("post-gelu")[::100], 0.1, signed=True)
    whole = mse_amax(histogram), mse_range(signed)
    sizes = []
    monkeypatch.setattr(least_error, "CHUNK", 7)
    measure = squared_error
    monkeypatch.setattr(least_error, "squared_error", lambda h, a, c: sizes.append(len(a)) or measure(h, a, c))
    assert (mse_amax(histogram), mse_range(signed)) == whole
    assert max(sizes) == 7


def test_clipped_histograms_by_hand():
    """What lies beyond is counted in the outermost bins that stay; a cut-off below one bin leaves one."""
    magnitudes = Histogram(np.array([1, 2, 3, 4]), 0.5, 1.9)
    clipped = clip(magnitudes, 1.0)
    assert (clipped.counts.tolist(), clipped.width, clipped.amax, clipped.signed) == ([1, 9], 0.5, 1.0, False)
    assert clip(magnitudes, 0.1).counts.tolist() == [10]
    same = clip(magnitudes, 5.0)
    assert (same.counts.tolist(), same.amax) == ([1, 2, 3, 4], 1.9)
    signed = Histogram(np.array([1, 2, 3, 4, 5]), 0.5, 1.4, first=-2)
    clipped = clip_ends(signed, Range(-0.5, 1.0))
    assert (clipped.counts.tolist(), clipped.first, clipped.width, clipped.amax) == ([3, 3, 9], -1, 0.5, 1.0)
    same = clip_ends(signed, Range(-7.0, 9.0))
    assert (same.counts.tolist(), same.first, same.amax) == ([1, 2, 3, 4, 5], -2, 9.0)
    last = clip_ends(signed, Range(9.0, 9.0))
    assert (last.counts.tolist(), last.first) == ([15], 2)
    first = clip_ends(signed, Range(-9.0, -9.0))
    assert (first.counts.tolist(), first.first) == ([15], -2)
    dead = Histogram(np.array([4]), 0.0, 0.0, first=0)
    assert clip_ends(dead, Range(-1.0, 1.0)) is dead
    assert clip(Histogram(np.array([4]), 0.0, 0.0), 1.0).counts.tolist() == [4]


def test_a_split_activation_is_clipped_at_its_percentile_only():
    values = draw("heavy-tailed")[::30]
    whole = histogram_of(values)
    split = Histogram(whole.counts, whole.width, whole.amax, split=True)
    for percentile in (100, 99.0):
        found = mse_range(split, percentile)
        assert found == Range.symmetric(percentile_amax(whole, percentile), split=True)
        assert not mse_range(whole, percentile).split


def test_signed_values_are_clipped_at_their_percentile():
    """Two clusters far out hold 2 % of the values; a cut-off of 98 % leaves them out."""
    histogram = piecewise((-1, 1, 980_000), (-20, -19, 10_000), (29, 30, 10_000), width=0.1)
    whole, clipped = mse_range(histogram), mse_range(histogram, 98)
    assert (whole.low, whole.high) == pytest.approx((-20, 30), abs=0.5)
    assert (clipped.low, clipped.high) == pytest.approx((-1, 1), abs=0.12)
