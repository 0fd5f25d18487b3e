"""INT8 arithmetic of weights and ranges."""

import numpy as np
import pytest
import torch

from stablequant.quantization.int8 import Range, between_levels, dequantized, on_level, quantize_weight, scale_of


def test_one_scale_per_output_channel():
    weight = np.array([[1.0, -2.0, 0.5], [100.0, 50.0, -127.0]], dtype=np.float32)
    levels, scales = quantize_weight(weight)
    assert np.allclose(scales, [2 / 127, 1])
    assert levels.tolist() == [[64, -127, 32], [100, 50, -127]]
    assert (levels.dtype, scales.dtype) == (np.int8, np.float32)


def test_convolution_weights_scale_along_axis_0():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 7, 3)).astype(np.float32) * np.arange(1, 6)[:, None, None]
    levels, scales = quantize_weight(weight)
    for channel in range(5):
        expected = torch.fake_quantize_per_tensor_affine(
            torch.from_numpy(weight[channel]), float(np.abs(weight[channel]).max() / 127), 0, -127, 127
        )
        assert np.allclose(levels[channel] * scales[channel], expected.numpy(), atol=1e-6)
        assert np.allclose(dequantized(levels, scales)[channel], expected.numpy(), atol=1e-6)


def test_the_largest_weight_of_either_sign_keeps_its_value():
    """For half of all numbers the largest divided by its scale is a little more than 127 in float32."""
    weight = np.random.default_rng(0).normal(size=(500, 1)).astype(np.float32)
    levels, scales = quantize_weight(weight)
    assert np.array_equal(levels[:, 0], np.where(weight[:, 0] > 0, 127, -127))
    assert dequantized(levels, scales) == pytest.approx(weight)


def test_dead_weight_stays_zero():
    levels, scales = quantize_weight(np.zeros((2, 3), dtype=np.float32))
    assert not levels.any()
    assert scales.tolist() == [1, 1]
    assert scale_of(0.0) == 1


def test_a_scale_is_a_127th_in_float32():
    found = scale_of(np.array([1.27, 0.0, 3.0]))
    assert found.dtype == np.float32
    assert found.tolist() == [np.float32(1.27) / np.float32(127), 1, np.float32(3) / np.float32(127)]


@pytest.mark.parametrize("scale", [1.0, 0.01, 3.7])
def test_a_centre_between_levels_is_half_a_step_away_at_most_and_leaves_0_midway(scale):
    ends = np.linspace(-9, 9, 181)
    found = between_levels(ends, scale)
    assert np.abs(found - ends / 2).max() <= scale / 2 * 1.0001
    assert np.allclose((found / scale) % 1, 0.5)
    assert between_levels(5.0, 1.0) == 2.5
    assert between_levels(-5.0, 1.0) == -2.5


def test_a_range_by_hand():
    """From -1 to 3: 127 steps of 2 / 127 to either side of 1, which lies 63.5 of them from 0."""
    chosen = Range(-1.0, 3.0)
    assert (chosen.amax, chosen.split) == (2.0, False)
    assert chosen.scale == float(np.float32(2) / np.float32(127))
    assert chosen.centre == pytest.approx(1.0)
    moved = Range(-0.3, 1.0)  # 0.35 is 68.38 steps of 0.65 / 127
    assert moved.centre == pytest.approx(68.5 * 0.65 / 127)
    assert moved.centre == float(np.float32(moved.centre))


@pytest.mark.parametrize("scale", [1.0, 0.01, 3.7])
def test_a_centre_on_a_level_is_half_a_step_away_at_most_and_a_whole_number_of_steps(scale):
    ends = np.linspace(-9, 9, 181)
    found = on_level(ends, scale)
    assert np.abs(found - ends / 2).max() <= scale / 2 * 1.0001
    assert np.abs(found / scale - np.rint(found / scale)).max() < 1e-9
    assert (on_level(5.5, 1.0), on_level(-5.5, 1.0)) == (3.0, -3.0)


def test_0_is_a_level_of_a_range_that_says_so():
    moved = Range(-0.3, 1.0, zero_level=True)  # 0.35 is 68.38 steps of 0.65 / 127
    assert moved.centre == pytest.approx(68 * 0.65 / 127)
    assert moved.centre == float(np.float32(moved.centre))
    assert Range(0.0, 2.54, zero_level=True).centre == pytest.approx(1.27)
    assert Range.symmetric(1.0) == Range(-1.0, 1.0, zero_level=False)
    assert Range(-1.0, 1.0, zero_level=True).centre == 0


def test_a_symmetric_range_by_hand():
    chosen = Range.symmetric(1.27)
    assert (chosen.low, chosen.high, chosen.amax, chosen.centre, chosen.split) == (-1.27, 1.27, 1.27, 0.0, False)
    assert chosen.scale == pytest.approx(0.01)
    split = Range.symmetric(1.27, split=True)
    assert split.split
    assert split.rest_scale == pytest.approx(0.005 / 127)
    assert Range.symmetric(0.0).scale == 1
