"""Scales of channels against worked cases."""

import numpy as np
import pytest

from stablequant.quantization.channel_scales import channel_scales, equalised_weight, load_scales, save_scales


def test_scales_by_hand():
    """Two channels, the second reaching 100 times as far; weights of 1 and 4, in two readers."""
    extents = np.array([0.1, 10.0])
    weights = [np.array([[1.0, -4.0]]), np.array([[-0.5, 2.0]])]
    assert channel_scales(extents, weights, 1, exponent=1).tolist() == pytest.approx([0.1, 10])
    assert channel_scales(extents, weights, 1, exponent=0).tolist() == pytest.approx([2, 0.5])
    assert channel_scales(extents, weights, 1, exponent=0.5) == pytest.approx([0.2**0.5, 5**0.5])
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


def test_a_quiet_channel_counts_as_a_hundred_thousandth_of_the_loudest():
    """Else a channel that was silent would be enlarged without end, and so would noise in it."""
    for quiet in (0.0, 1e-9, 1e-5):
        found = channel_scales(np.array([quiet, 1.0]), [np.ones((1, 2))], 1, exponent=1)
        assert found == pytest.approx([10**-2.5, 10**2.5], rel=1e-4), quiet
        found = channel_scales(np.ones(2), [np.array([[2 * quiet, 2.0]])], 1, exponent=0)
        assert found == pytest.approx([10**2.5, 10**-2.5], rel=1e-4), quiet
    found = channel_scales(np.array([1e-4, 1.0]), [np.ones((1, 2))], 1, exponent=1)
    assert found == pytest.approx([1e-2, 1e2], rel=1e-4)


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
        save_scales(tmp_path / "scales.safetensors", saved)
        found = load_scales(tmp_path / "scales.safetensors")
        assert found.keys() == saved.keys()
        assert all(np.array_equal(found[name], values) for name, values in saved.items())
