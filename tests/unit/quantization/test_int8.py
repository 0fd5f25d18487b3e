"""INT8 arithmetic and its simulation in torch."""

import numpy as np
import pytest
import torch

from stablequant.quantization.int8 import Range, quantize_weight, scale_of
from stablequant.quantization.simulation import (
    fake_quantize_activation,
    fake_quantize_input,
    fake_quantized,
    fake_quantized_weights,
)


def test_one_scale_per_output_channel():
    weight = np.array([[1.0, -2.0, 0.5], [100.0, 50.0, -127.0]], dtype=np.float32)
    levels, scales = quantize_weight(weight)
    assert np.allclose(scales, [2 / 127, 1])
    assert levels.tolist() == [[64, -127, 32], [100, 50, -127]]


def test_convolution_weights_scale_along_axis_0():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 7, 3)).astype(np.float32) * np.arange(1, 6)[:, None, None]
    levels, scales = quantize_weight(weight)
    for channel in range(5):
        expected = torch.fake_quantize_per_tensor_affine(
            torch.from_numpy(weight[channel]), float(np.abs(weight[channel]).max() / 127), 0, -127, 127
        )
        assert np.allclose(levels[channel] * scales[channel], expected.numpy(), atol=1e-6)


def test_dead_weight_stays_zero():
    levels, scales = quantize_weight(np.zeros((2, 3), dtype=np.float32))
    assert not levels.any()
    assert scales.tolist() == [1, 1]
    assert scale_of(0.0) == 1


@pytest.mark.parametrize(("low", "high"), [(-0.17, 18.9), (-3.0, 0.5), (-1.0, 1.001)])
def test_a_range_around_its_own_centre_keeps_the_signs_of_small_values_and_its_ends_to_a_step(low, high):
    chosen = Range(low, high)
    step = chosen.scale
    values = torch.tensor([-0.9 * step, -1e-3 * step, 1e-3 * step, 0.9 * step, low, high])
    found = fake_quantize_input(values, chosen)
    assert found[:4].tolist() == pytest.approx([-step / 2, -step / 2, step / 2, step / 2], rel=1e-3)
    assert (found[4:] - values[4:]).abs().max() <= 1.01 * step


def test_a_symmetric_range_lies_around_0_which_is_a_level():
    assert Range.symmetric(3.0).centre == 0
    assert fake_quantize_input(torch.tensor([0.001]), Range.symmetric(3.0)).item() == 0


def test_a_split_range_has_the_steps_of_16_bits_and_clamps_like_any_other():
    chosen = Range.symmetric(3.0, split=True)
    values = torch.linspace(-3, 3, 10_001)
    coarse = fake_quantize_input(values, Range.symmetric(3.0))
    found = fake_quantize_input(values, chosen)
    assert chosen.rest_scale == pytest.approx(chosen.scale / 254)
    assert (coarse - values).abs().max() > 0.4 * chosen.scale
    assert (found - values).abs().max() <= 0.51 * chosen.rest_scale
    assert fake_quantize_input(torch.tensor([5.0]), chosen).item() == pytest.approx(3.0, abs=chosen.scale)


def test_only_the_named_modules_are_quantized_and_only_inside_the_block(tiny):
    audio = torch.randn(1, 8000)
    chosen = [m for m in tiny.modules if m.layer == "transformer01"]
    other = tiny.model.get_submodule("hubert.encoder.layers.1.attention.q_proj")
    weights = {m.module: tiny.model.get_submodule(m.module).weight.clone() for m in chosen}
    untouched = other.weight.clone()
    with torch.inference_mode():
        exact = tiny.model(audio).logits
        ranges = dict.fromkeys({m.activation for m in chosen}, Range.symmetric(3.0))
        with fake_quantized(tiny.model, chosen, ranges, {}, fake_quantized_weights(tiny.model, chosen, {})):
            rough = tiny.model(audio).logits
            assert torch.equal(other.weight, untouched)
            inside = tiny.model.get_submodule(chosen[0].module).weight
            assert len(torch.unique(inside[0])) <= 255
            assert not torch.equal(inside, weights[chosen[0].module])
        assert not torch.equal(rough, exact)
        assert torch.equal(tiny.model(audio).logits, exact)
    for name, weight in weights.items():
        assert torch.equal(tiny.model.get_submodule(name).weight, weight)


def test_input_is_rounded_and_clamped_as_an_engine_does(tiny):
    """The projection's input has levels from -128 to 127 of its scale."""
    module = next(m for m in tiny.modules if m.layer == "projection")
    seen = []
    int8 = fake_quantized_weights(tiny.model, [module], {})
    with fake_quantized(tiny.model, [module], {"projection": Range.symmetric(1.27)}, {}, int8):
        handle = tiny.model.get_submodule(module.module).register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        with torch.inference_mode():
            tiny.model(torch.randn(1, 8000))
        handle.remove()
    levels = seen[0] / 0.01
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert levels.min() >= -128.001
    assert levels.max() <= 127.001


def test_activations_are_quantized_as_torch_does():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    before = values.clone()
    for scale in (0.01, 0.0371, 1.0):
        expected = torch.fake_quantize_per_tensor_affine(values, scale, 0, -128, 127)
        assert torch.allclose(fake_quantize_activation(values, scale), expected, atol=1e-6)
    halves = torch.tensor([0.5, 1.5, -0.5, -2.5])
    assert fake_quantize_activation(halves, 1.0).tolist() == [0, 2, 0, -2]
    assert torch.equal(values, before), "the input was changed in place"
