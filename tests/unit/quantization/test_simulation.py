"""INT8 simulated in torch."""

import numpy as np
import pytest
import torch
from fake_recogniser import MODULES, WEIGHTS, FakeRecogniser, posteriors_by_hand, songs

from stablequant.quantization.int8 import Carried, Range, dequantized, quantize_weight
from stablequant.quantization.simulation import (
    fake_quantize_activation,
    fake_quantize_input,
    fake_quantized,
    fake_quantized_weights,
)
from stablequant.recognisers.modules import QuantizedModule


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


@pytest.mark.parametrize("ends", [(-3.0, 3.0), (-0.2, 3.0)], ids=["centre 0", "own centre"])
@pytest.mark.parametrize("axis", [-1, -2])
def test_carried_channels_are_two_numbers_and_the_rest_is_as_without_them(ends, axis):
    values = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0)).clamp(*ends)
    values.movedim(axis, 0)[[1, 4]] *= 50
    before = values.clone()
    carried = Carried((1, 4), 160.0)
    found = fake_quantize_input(values, Range(*ends, carried=carried), axis)
    others = fake_quantize_input(values, Range(*ends))
    assert torch.equal(values, before), "the input was changed in place"
    for channel, (own, plain, exact) in enumerate(
        zip(*(v.movedim(axis, 0) for v in (found, others, values)), strict=True)
    ):
        if channel in (1, 4):
            assert (own - exact).abs().max() <= 0.51 * carried.range.rest_scale
            assert torch.equal(own, fake_quantize_input(exact, Range.symmetric(160.0, split=True)))
        else:
            assert torch.equal(own, plain)


@pytest.mark.parametrize(
    "chosen",
    [
        Range.symmetric(3.0),
        Range(-0.2, 3.0),
        Range.symmetric(3.0, split=True),
        Range(-0.2, 3.0, carried=Carried((1, 4), 160.0)),
    ],
    ids=["centre 0", "own centre", "split", "carried"],
)
def test_the_memory_of_the_values_can_be_used_for_the_result(chosen):
    values = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0)) * 3
    expected = fake_quantize_input(values, chosen)
    place = values.data_ptr()
    found = fake_quantize_input(values, chosen, overwrite=True)
    assert torch.equal(found, expected)
    assert chosen.split or found.data_ptr() == place


def test_activations_are_quantized_as_torch_does():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    before = values.clone()
    for scale in (0.01, 0.0371, 1.0):
        expected = torch.fake_quantize_per_tensor_affine(values, scale, 0, -128, 127)
        assert torch.allclose(fake_quantize_activation(values, scale), expected, atol=1e-6)
    halves = torch.tensor([0.5, 1.5, -0.5, -2.5])
    assert fake_quantize_activation(halves, 1.0).tolist() == [0, 2, 0, -2]
    assert torch.equal(values, before), "the input was changed in place"


class OnDevice(torch.Tensor):
    """Says that it is on a GPU, where another kernel is chosen; that runs on a CPU too."""

    is_cuda = True


def test_the_kernel_for_a_gpu_gives_the_same_numbers():
    """To a step where a tie rounds otherwise."""
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    for scale in (0.01, 0.0371, 1.0):
        found = fake_quantize_activation(values.as_subclass(OnDevice), scale).as_subclass(torch.Tensor)
        assert torch.allclose(found, fake_quantize_activation(values, scale), atol=1e-6)
    for scale, lowest, highest in ((0.01, -1.28, 1.27), (1.0, -128, 127)):
        ends = fake_quantize_activation(torch.tensor([-1e6, 1e6]).as_subclass(OnDevice), scale)
        assert ends.tolist() == pytest.approx([lowest, highest])


def posteriors(recogniser: FakeRecogniser) -> np.ndarray:
    (samples,) = recogniser.audio.values()
    (found,) = recogniser.recognise({"hidden": torch.from_numpy(samples[None])}, 0, recogniser.context([len(samples)]))
    return found.log_posteriors


def test_only_the_named_modules_are_quantized_and_only_inside_the_block():
    recogniser = FakeRecogniser(songs(1))
    model, chosen = recogniser.model, [m for m in MODULES if m.layer == "mix"]
    exact = posteriors(recogniser)
    ranges = dict.fromkeys({m.activation for m in chosen}, Range.symmetric(3.0))
    with fake_quantized(model, chosen, ranges, {}, fake_quantized_weights(model, chosen, {})):
        rough = posteriors(recogniser)
        for module in MODULES:
            inside = model.get_submodule(module.module).weight.numpy()
            levels = inside.reshape(len(inside), -1) * 127 / np.abs(inside).reshape(len(inside), -1).max(1)[:, None]
            assert np.allclose(levels, levels.round(), atol=1e-3) == (module in chosen), module.module
            assert np.array_equal(inside, WEIGHTS[module.module]) != (module in chosen)
    assert not np.array_equal(rough, exact)
    assert np.array_equal(posteriors(recogniser), exact)
    for name, weight in WEIGHTS.items():
        assert np.array_equal(model.get_submodule(name).weight.numpy(), weight)


def test_an_error_inside_the_block_leaves_no_trace():
    recogniser = FakeRecogniser(songs(1))
    exact = posteriors(recogniser)
    weights = fake_quantized_weights(recogniser.model, MODULES, {})
    with (
        pytest.raises(KeyError),
        fake_quantized(recogniser.model, MODULES, {"front": Range.symmetric(1.0)}, {}, weights),
    ):
        raise AssertionError("the ranges of the others are missing")
    assert np.array_equal(posteriors(recogniser), exact)


def test_input_is_rounded_and_clamped_as_an_engine_does():
    """What `deep` reads has levels from -128 to 127 of its scale."""
    recogniser, (module,) = FakeRecogniser(songs(1)), [m for m in MODULES if m.layer == "deep"]
    seen = []
    int8 = fake_quantized_weights(recogniser.model, [module], {})
    with fake_quantized(recogniser.model, [module], {"deep": Range.symmetric(0.127)}, {}, int8):
        handle = recogniser.model.deep.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        posteriors(recogniser)
        handle.remove()
    levels = seen[0] / 0.001
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert levels.min().item() == pytest.approx(-128)
    assert levels.max().item() == pytest.approx(127)


def test_what_autocast_reduced_is_quantized_in_float32():
    layer = torch.nn.Linear(3, 2)
    model = torch.nn.ModuleDict({"deep": layer}).requires_grad_(False)
    (module,) = [m for m in MODULES if m.layer == "deep"]
    weights = {"deep": torch.ones(2, 3)}
    values = torch.tensor([[1.0, 0.3, -2.0]])
    with fake_quantized(model, [module], {"deep": Range.symmetric(1.27)}, {}, weights):
        found = layer(values.bfloat16())
    assert found.dtype == torch.float32
    assert found.numpy() - layer.bias.numpy() == pytest.approx(np.full((1, 2), 1 + 0.3 - 1.28), abs=1e-5)


def test_the_whole_recogniser_computes_what_numpy_does_with_the_same_numbers():
    """Activations divided by channel scales, ranges of all kinds, and weights that were rounded before."""
    recogniser = FakeRecogniser(songs(1))
    (samples,) = recogniser.audio.values()
    read: dict[str, np.ndarray] = {}
    exact = posteriors_by_hand(samples, read=read)
    draw = np.random.default_rng(1)
    scales = {name: draw.uniform(0.5, 2, len(v)).astype(np.float32) for name, v in read.items() if name != "front"}
    reached = {name: np.abs(values).max() for name, values in read.items()}
    ranges = {name: Range.symmetric(0.8 * amax) for name, amax in reached.items()}
    ranges |= {name: Range(-0.4 * reached[name], 0.9 * reached[name]) for name in ("deep", "head")}
    ranges["front"] = Range.symmetric(reached["front"], split=True)
    planted = quantize_weight(WEIGHTS["mix.out"] * scales["mix.out"])
    planted = np.clip(planted[0] + draw.integers(-9, 10, planted[0].shape), -127, 127).astype(np.int8), planted[1]

    def quantizer(name: str):
        divisor, chosen = scales.get(name, np.ones(1))[:, None].astype(np.float64), ranges[name]

        def quantize(values: np.ndarray) -> np.ndarray:
            moved = values / divisor - chosen.centre
            rounded = np.clip(np.rint(moved / chosen.scale), -128, 127) * chosen.scale
            if chosen.split:
                rounded += np.clip(np.rint((moved - rounded) / chosen.rest_scale), -128, 127) * chosen.rest_scale
            return rounded + chosen.centre

        return quantize

    weights = {}
    for module in MODULES:
        weight = WEIGHTS[module.module]
        if module.activation in scales:
            wide = scales[module.activation]
            wide = wide.reshape(3, 2)[np.arange(6) // 2, :, None] if module.module == "near" else wide[None]
            weight = weight * wide
        weights[module.module] = dequantized(*quantize_weight(weight))
    weights["mix.out"] = planted[0] * planted[1][:, None]
    expected = posteriors_by_hand(samples, activations={name: quantizer(name) for name in read}, weights=weights)
    found = fake_quantized_weights(recogniser.model, MODULES, scales, {"mix.out": planted})
    with fake_quantized(recogniser.model, MODULES, ranges, scales, found):
        assert posteriors(recogniser) == pytest.approx(expected, abs=0.02)
    assert np.abs(expected - exact).max() > 1


def test_an_embedding_with_the_weight_of_a_module_has_its_fake_quantized_table():
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = torch.nn.Embedding(7, 5), torch.nn.Linear(5, 7, bias=False)
            self.head.weight = self.table.weight

    model, module = Tied().requires_grad_(False), QuantizedModule("head", "head", "head", "head")
    scales = {"head": np.float32([0.5, 1, 2, 4, 0.25])}
    before, tokens = model.table.weight.clone(), torch.tensor([6, 0, 3])
    weights = fake_quantized_weights(model, [module], scales)
    with fake_quantized(model, [module], {"head": Range.symmetric(1)}, scales, weights):
        found = model.table(tokens)
    levels, steps = quantize_weight(before.numpy() * scales["head"])
    expected = (dequantized(levels, steps) / scales["head"])[tokens.numpy()]
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(model.table(tokens), before[tokens])


@torch.inference_mode()
def test_under_autocast_quantized_modules_compute_exactly_and_give_its_type():
    """bfloat16 holds no products of a level and a scale; without autocast nothing is rounded at all."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Linear(8, 8))
    module = QuantizedModule("first", "linear", "0", "first")
    values = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    weights = fake_quantized_weights(model, [module], {})
    ranges = {"first": Range.symmetric(3.0)}
    with fake_quantized(model, [module], ranges, {}, weights):
        exact = model[0](values)
        with torch.autocast("cpu", torch.bfloat16):
            found = model[0](values)
            assert torch.is_autocast_enabled("cpu")
    assert exact.dtype == torch.float32
    assert torch.equal(found, exact.bfloat16())
    assert "forward" not in vars(model[0])
