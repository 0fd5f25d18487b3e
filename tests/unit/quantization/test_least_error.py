"""The range of least squared error against brute force on the raw samples."""

import numpy as np
import pytest
from distributions import binned, draw, evenly, histogram_of, noise, quantization_error, spread

from stablequant.quantization import least_error
from stablequant.quantization.histograms import TINIEST, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import clip, mse_amax, mse_range, squared_error
from stablequant.quantization.ranges import percentile_amax, percentile_range


def test_error_of_one_bin_by_hand():
    """Values spread over [0, 1) and a step of 1: half round to 0, half to 1; the mean squared error is 1/12."""
    assert squared_error(evenly(np.array([10]), 1.0), np.array([127.0])) == pytest.approx(1 / 12)


def test_clamping_counts():
    """All values near 10 and a range of 1: each is off by about 9."""
    counts = np.zeros(1000, dtype=np.int64)
    counts[-1] = 5
    assert squared_error(evenly(counts, 0.01), np.array([1.0])) == pytest.approx(9.0**2, rel=0.01)


def test_error_of_uneven_bins_is_that_of_many_values_spread_over_them():
    """Zeros are a bin, too: they are off where 0 is no level."""
    histogram = Histogram(np.array([3, 0, 9, 4, 2]), np.array([-2, -0.5, 0, TINIEST, 0.1, 7]), signed=True)
    many, weights = spread(histogram, points=4000)
    for amax, centre in ((0.3, 0.0), (2.0, -1.0), (5.0, 2 + 2.5 / 127), (127.0, 0.0), (127.0, 0.5)):
        expected = quantization_error(many, weights, amax, centre)
        assert squared_error(histogram, np.array([amax]), centre) == pytest.approx(expected, rel=2e-4)


def test_dead_activation_has_no_range():
    assert mse_amax(histogram_of(np.zeros(100, dtype=np.float32))) == 0


def test_error_around_a_centre_is_that_of_the_shifted_values():
    histogram = evenly(np.array([3, 1, 0, 2]), 0.5, first=-2, signed=True)
    shifted = evenly(histogram.counts, 0.5, signed=True)
    found = squared_error(histogram, np.array([0.3, 2.0]), np.array([-1.0, -1.0]))
    assert found == pytest.approx(squared_error(shifted, np.array([0.3, 2.0])))


@pytest.mark.parametrize("signed", [False, True])
def test_clipping_keeps_every_value(signed):
    histogram = histogram_of(draw("laplace"), signed)
    clipped = clip(histogram, -1.0 if signed else 0.0, 2.0)
    assert clipped.total == histogram.total
    assert (clipped.low, clipped.high) == (-1 if signed else histogram.low, 2)


@pytest.mark.parametrize("signed", [False, True])
def test_dead_and_constant_activations(signed):
    assert mse_range(histogram_of(np.zeros(100, dtype=np.float32), signed)).scale == 1
    constant = mse_range(histogram_of(np.full(100, 0.3, dtype=np.float32), signed))
    assert constant.low - constant.scale <= 0.3 <= constant.high + constant.scale


def piecewise(*parts: tuple[float, float, int], width: float = 0.01) -> Histogram:
    """``count`` values spread evenly from ``low`` to ``high``, for each of the ``parts`` (low, high, count)."""
    first, last = round(min(low for low, _, _ in parts) / width), round(max(high for _, high, _ in parts) / width)
    counts = np.zeros(last - first, dtype=np.int64)
    for low, high, count in parts:
        start, stop = round(low / width) - first, round(high / width) - first
        counts[start:stop] += count // (stop - start)
    return evenly(counts, width, first, signed=True)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-1.0, 2.0), (-0.2, 1.0)])
def test_both_ends_come_to_where_the_values_end(low, high):
    """But for a few, which lie 30 % farther: nothing is gained by a range that holds them, nor by one that is smaller.

    That is at no end that is tried first, in steps of 5 %.
    """
    few = [(1.3 * low, 1.3 * low + 0.01, 1), (1.3 * high - 0.01, 1.3 * high, 1)]
    found = mse_range(piecewise((low, high, 10_000_000), *few))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004 * (high - low))


@pytest.mark.parametrize("middle", [5.5, -5.5])
def test_ends_come_nearer_to_the_mean_also_far_from_0(middle):
    """Nearly all values lie within a half of ``middle``, a few three times as far."""
    few = [(middle - 1.5, middle - 1.49, 1), (middle + 1.49, middle + 1.5, 1)]
    found = mse_range(piecewise((middle - 0.5, middle + 0.5, 10_000_000), *few))
    assert (found.low, found.high) == pytest.approx((middle - 0.5, middle + 0.5), abs=0.006)


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
def test_magnitudes_are_clipped_first_and_then_as_good_as_any_amax(percentile):
    """Of values spread over the bins."""
    values = np.abs(np.random.default_rng(0).standard_t(3, size=20_000))
    histogram = binned(values, float(values.max()) / 700)
    found = mse_range(histogram, percentile)
    assert found.low == -found.high
    many, weights = spread(histogram, points=20)
    cut = percentile_amax(histogram, percentile)
    many = many.clip(max=cut)
    tried = [*np.linspace(0.9, 1.1, 41) * found.high, *np.linspace(0.05, 1, 40) * cut]
    errors = [quantization_error(many, weights, amax) for amax in tried if amax <= cut]
    assert quantization_error(many, weights, found.high) <= 1.002 * min(errors)
    assert found.high <= cut


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("spike", [30.0, 1000.0, 1e5])
def test_one_spike_does_not_coarsen_the_search(spike, signed):
    """One value of 100,000 lies far beyond the others. The range is as good on the values as any of a fine grid.

    If the spike is not clipped, only the width of its bin is known of it.
    """
    values = noise(100_000).astype(np.float32)
    values[70] = spike
    histogram = histogram_of(values, signed)
    for percentile, tolerance in ((100, 1.05), (99.9, 1.003)):
        cut = percentile_range(histogram, percentile)
        clipped, ones = values.clip(cut.low, cut.high), np.ones(len(values))
        found = mse_range(histogram, percentile)
        tried = [Range(-min(4.5, high) if signed else -high, high) for high in np.geomspace(3, cut.high, 60)]
        least = min(quantization_error(clipped, ones, r.amax, r.centre) for r in tried)
        assert quantization_error(clipped, ones, found.amax, found.centre) <= tolerance * least


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("spike", [30.0, 1000.0, 1e9])
def test_neighbouring_cut_offs_differ_beside_a_spike(spike, signed):
    values = noise(100_000).astype(np.float32)
    values[70] = spike
    percentiles = [99.99, 99.95, 99.9, 99.8, 99.5, 99.0, 98.0]
    found = [percentile_range(histogram_of(values, signed), percentile).high for percentile in percentiles]
    counted, beyond = (values, 0.5) if signed else (np.abs(values), 1)
    expected = np.percentile(counted, [100 - beyond * (100 - percentile) for percentile in percentiles])
    assert found == pytest.approx(expected, rel=2**-8)
    assert len(set(found)) == len(percentiles)


def test_many_exact_zeros_lie_on_a_level():
    """After ReLU, half of the values are 0. Beside a range around 0, one with its own centre has half the steps."""
    values = noise(100_000).astype(np.float32).clip(min=0)
    for percentile in (100, 99.9):
        found, around_0 = (mse_range(histogram_of(values, signed), percentile) for signed in (True, False))
        clipped, ones = values.clip(max=percentile_range(histogram_of(values), percentile).high), np.ones(len(values))
        lost, lost_around_0 = (quantization_error(clipped, ones, r.amax, r.centre) for r in (found, around_0))
        assert lost < 0.3 * lost_around_0
        assert found.zero_level
        place = (0 - found.centre) / found.scale
        assert place == pytest.approx(round(place), abs=1e-4)


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
    monkeypatch.setattr(least_error, "squared_error", lambda h, a, c=0.0: sizes.append(len(a)) or measure(h, a, c))
    assert (mse_amax(histogram), mse_range(signed)) == whole
    assert max(sizes) == 7


def test_clipped_histograms_by_hand():
    """What lies beyond is counted in a narrow bin at the end; a bin that is cut keeps its share."""
    magnitudes = evenly(np.array([1, 2, 3, 4]), 0.5)
    clipped = clip(magnitudes, 0.0, 1.0)
    assert clipped.edges.tolist() == [0, 0.5, 1 - 2**-20, 1]
    assert clipped.counts.tolist() == pytest.approx([1, 2, 7], abs=1e-5)
    assert (clipped.signed, clipped.split, clipped.total) == (False, False, 10)
    assert clip(magnitudes, 0.0, 0.125).counts.tolist() == pytest.approx([0.25, 9.75], abs=1e-5)
    clipped = clip(magnitudes, 0.0, 1.25)
    assert clipped.edges.tolist() == [0, 0.5, 1, 1.25 * (1 - 2**-20), 1.25]
    assert clipped.counts.tolist() == pytest.approx([1, 2, 1.5, 5.5], abs=1e-5)
    same = clip(magnitudes, -1.0, 5.0)
    assert (same.counts.tolist(), same.edges.tolist()) == ([1, 2, 3, 4], [0, 0.5, 1, 1.5, 2])
    signed = evenly(np.array([1, 2, 3, 4, 5]), 0.5, first=-2, signed=True)
    clipped = clip(signed, -0.25, 0.75)
    assert clipped.edges.tolist() == [-0.25, -0.25 + 2**-20, 0, 0.5, 0.75 - 2**-20, 0.75]
    assert clipped.counts.tolist() == pytest.approx([2, 1, 3, 2, 7], abs=1e-4)
    assert clipped.signed
    same = clip(signed, -7.0, 9.0)
    assert (same.counts.tolist(), same.edges.tolist()) == (signed.counts.tolist(), signed.edges.tolist())


def test_a_split_activation_is_clipped_at_its_percentile_only():
    values = draw("heavy-tailed")[::30]
    whole = histogram_of(values)
    split = Histogram(whole.counts, whole.edges, split=True)
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
