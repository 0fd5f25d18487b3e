"""Scales of channels against worked cases."""

import numpy as np
import pytest
from distributions import noise

from stablequant.quantization.channel_scales import (
    channel_scales,
    equalised_weight,
    extents_of,
    load_channel_scales,
    save_channel_scales,
)


def test_scales_by_hand():
    """Two channels, the first reaching 20 times as far; weights of 1 and 4, in two readers."""
    extents = np.array([10.0, 0.5])
    weights = [np.array([[1.0, -4.0]]), np.array([[-0.5, 2.0]])]
    assert channel_scales(extents, weights, 1, exponent=1).tolist() == pytest.approx([20**0.5, 20**-0.5])
    assert channel_scales(extents, weights, 1, exponent=0).tolist() == pytest.approx([2, 0.5])
    assert channel_scales(extents, weights, 1, exponent=0.5) == pytest.approx([80**0.25, 80**-0.25])
    grouped = np.array([[[1.0]], [[-4.0]]])  # one input channel per group
    assert channel_scales(extents, [grouped], 2, exponent=0) == pytest.approx([2, 0.5])
    assert channel_scales(extents, weights, 1, exponent=0.5).dtype == np.float32


def test_every_reader_counts_for_the_channel_where_its_weights_are_largest():
    """The first reader has the larger weight in one channel, the second in the other, an output each."""
    weights = [np.array([[9.0, 0.1], [0.2, 1.0]]), np.array([[0.3, -0.2], [1.0, -4.0]])]
    found = channel_scales(np.ones(2), weights, 1, exponent=0)
    assert found.tolist() == pytest.approx([(4 / 9) ** 0.5, (9 / 4) ** 0.5])
    assert channel_scales(np.ones(2), weights[::-1], 1, exponent=0).tolist() == pytest.approx(found.tolist())


def test_weights_of_groups_by_hand():
    """Two groups of two channels and two outputs each, a kernel of two; the largest of each channel is listed."""
    largest = np.array([2.0, 3.0, 5.0, 7.0])
    weight = np.full((4, 2, 2), 0.5)
    weight[1, 0, 1], weight[0, 1, 0], weight[2, 0, 0], weight[3, 1, 1] = -2, 3, 5, -7
    expected = (1 / largest) / np.prod(1 / largest) ** 0.25
    assert channel_scales(np.ones(4), [weight], 2, exponent=0) == pytest.approx(expected)


def test_the_extent_is_a_percentile_within_limits():
    """A quarter of the maximum, of which no more counts than the largest percentile; a silent channel is a median."""
    percentiles, maxima = np.array([3.0, 1.0, 1e-7, 0.0, 0.5, 0.0]), np.array([9.0, 1.5, 2.0, 1.0, 1e6, 0.0])
    assert extents_of(percentiles, maxima).tolist() == [3, 1, 0.5, 0.25, 0.75, 0.75]
    assert extents_of(np.zeros(2), np.zeros(2)).tolist() == [0, 0]


def test_a_channel_counts_as_a_tenth_of_the_others_at_least():
    """Else a quiet channel would be enlarged without end. Products with the weights are compared, with their median."""
    for quiet in (0.0, 1e-9, 0.01):
        found = channel_scales(np.array([quiet, 1, 1]), [np.ones((1, 3))], 1, exponent=1)
        assert found[1] / found[0] == pytest.approx(10)
    found = channel_scales(np.array([0.01, 1, 1]), [np.array([[50.0, 1, 1]])], 1, exponent=1)
    assert found[1] / found[0] == pytest.approx(100), "read by a large weight"
    found = channel_scales(np.array([100.0, 0.1, 0.1]), [np.array([[1e-3, 1, 1]])], 1, exponent=1)
    assert found[0] / found[1] == pytest.approx(1000), "one channel far above all others"


@pytest.mark.parametrize("active", [0.0005, 0.0])
def test_a_channel_that_is_nearly_always_silent_does_not_drown_the_others(active):
    """Of 64 channels one is active in few frames, or in none until later. Rounding must not lose much more by that."""
    values, weight = noise(20_000, 64).astype(np.float32), noise(32, 64, seed=1)
    frames = noise(20_000, seed=2) > 3.29  # a two-thousandth
    seen = values.copy()
    seen[:, 0] = np.where(frames, 3 * values[:, 0], 1e-7 * values[:, 0]) if active else 0
    values[:, 0] = np.where(frames, 3 * values[:, 0], 0)
    percentiles = np.percentile(np.abs(seen), 99.9, axis=0, method="inverted_cdf")
    scales = channel_scales(extents_of(percentiles, np.abs(seen).max(axis=0)), [weight], 1, 0.75)
    amax = np.abs(seen / scales).max()
    error = (quantized(values / scales, amax / 127) @ (weight * scales).T) - values @ weight.T
    assert np.linalg.norm(error) < 0.06 * np.linalg.norm(values @ weight.T)


def quantized(values: np.ndarray, step: float) -> np.ndarray:
    return np.rint(values / step).clip(-127, 127) * step


def test_dead_channels_and_dead_weights_get_finite_scales():
    for extents, weights in (([0.0, 1.0], [[1.0, 1.0]]), ([0.0, 0.0], [[1.0, 2.0]]), ([1.0, 2.0], [[0.0, 0.0]])):
        scales = channel_scales(np.array(extents), [np.array(weights)], 1, 0.75)
        assert np.isfinite(scales).all()
        assert (scales > 0).all()
    assert channel_scales(np.zeros(2), [np.array([[1.0, 4.0]])], 1, 0.5).tolist() == pytest.approx([2**0.5, 0.5**0.5])
    assert channel_scales(np.array([1.0, 4.0]), [np.zeros((1, 2))], 1, 0.5).tolist() == pytest.approx(
        [0.5**0.5, 2**0.5]
    )


def test_an_equalised_weight_by_hand():
    """Every weight times the scale of the channel it reads; a group's weights know only its own channels."""
    scales = np.array([1.0, 10.0, 100.0, 1000.0])
    weight = np.arange(1, 9).reshape(2, 4).astype(float)
    assert equalised_weight(weight, scales, 1).tolist() == [[1, 20, 300, 4000], [5, 60, 700, 8000]]
    grouped = np.arange(1, 9).reshape(2, 2, 2).astype(float)
    assert equalised_weight(grouped, scales, 2).tolist() == [[[1, 2], [30, 40]], [[500, 600], [7000, 8000]]]


def test_a_file_gives_back_what_was_saved(tmp_path):
    scales = {"cnn02": np.array([1, 2], dtype=np.float32), "transformer01.fc1": np.array([0.5], dtype=np.float32)}
    for saved in (scales, {}):
        save_channel_scales(tmp_path / "scales.safetensors", saved)
        found = load_channel_scales(tmp_path / "scales.safetensors")
        assert found.keys() == saved.keys()
        assert all(np.array_equal(found[name], values) for name, values in saved.items())
