"""Channels are brought to similar ranges, and nothing else changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import Recogniser, batches_of

from stablequant.quantization.channel_scales import channel_scales, equalised_weight, load_scales, save_scales
from stablequant.recognisers.operations import groups_of, reciprocal
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.search.equalise_channels import Extents, equalise_channels
from stablequant.search.recognise_reference import Split


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "operation",
    [torch.nn.Linear(12, 8), torch.nn.Conv1d(12, 8, 3), torch.nn.Conv1d(12, 8, 3, groups=4, padding=1)],
    ids=["linear", "convolution", "grouped convolution"],
)
def test_divided_channels_and_multiplied_weights_compute_the_same(operation):
    operation.requires_grad_(False)
    values = torch.from_numpy(noise(2, 12, 20) if isinstance(operation, torch.nn.Conv1d) else noise(2, 20, 12))
    scales = np.random.default_rng(1).uniform(0.1, 10, 12).astype(np.float32)
    expected = operation(values)
    operation.weight.data = torch.from_numpy(equalised_weight(operation.weight.numpy(), scales, groups_of(operation)))
    assert torch.allclose(operation(values * reciprocal(operation, scales)), expected, atol=1e-5)


def test_scales_by_hand():
    """Two channels, the second reaching 100 times as far; weights of 1 and 4, in two readers."""
    extents = np.array([0.1, 10.0])
    weights = [np.array([[1.0, -4.0]]), np.array([[-0.5, 2.0]])]
    assert channel_scales(extents, weights, 1, exponent=1).tolist() == pytest.approx([0.1, 10])
    assert channel_scales(extents, weights, 1, exponent=0).tolist() == pytest.approx([2, 0.5])
    assert channel_scales(extents, weights, 1, exponent=0.5) == pytest.approx([0.2**0.5, 5**0.5])
    grouped = np.array([[[1.0]], [[-4.0]]])  # one input channel per group
    assert channel_scales(extents, [grouped], 2, exponent=0) == pytest.approx([2, 0.5])


def test_dead_channels_and_dead_weights_get_finite_scales():
    for extents, weights in (([0.0, 1.0], [[1.0, 1.0]]), ([0.0, 0.0], [[1.0, 2.0]]), ([1.0, 2.0], [[0.0, 0.0]])):
        scales = channel_scales(np.array(extents), [np.array(weights)], 1, 0.75)
        assert np.isfinite(scales).all()
        assert (scales > 0).all()


def test_a_file_gives_back_what_was_saved(tmp_path):
    scales = {"cnn02": np.array([1, 2], dtype=np.float32), "transformer01.fc1": np.array([0.5], dtype=np.float32)}
    for saved in (scales, {}):
        save_scales(tmp_path / "scales.safetensors", saved)
        found = load_scales(tmp_path / "scales.safetensors")
        assert found.keys() == saved.keys()
        assert all(np.array_equal(found[name], values) for name, values in saved.items())


@pytest.mark.parametrize("percentile", [100, 99.9, 90])
def test_how_far_channels_reach_is_the_percentile_of_all_utterances_together(percentile):
    utterances = [noise(3, frames) * scale for frames, scale in ((150, 1), (40, 5), (2000, 1), (155, 0.1))]
    extents = Extents(percentile, {"fc1": sum(u.shape[1] for u in utterances)})
    for utterance in utterances:
        extents.add("fc1", torch.from_numpy(utterance))
    everything = np.abs(np.concatenate(utterances, axis=1))
    expected = np.percentile(everything, percentile, axis=1, method="inverted_cdf")
    assert extents.reached()["fc1"].tolist() == expected.tolist()


def test_one_spike_does_not_move_how_far_a_channel_reaches():
    utterances = [noise(2, 100) for _ in range(20)]
    utterances[7][1, 50] = 1e6
    extents = Extents(99.9, {"fc1": 2000})
    for utterance in utterances:
        extents.add("fc1", torch.from_numpy(utterance))
    assert extents.reached()["fc1"][1] == np.abs(noise(2, 100)[1]).max()


def test_a_channel_made_to_reach_farther_is_divided_by_so_much_more(tiny, demo_utterances):
    """One channel of the attention's values is multiplied, which reaches the input of `out_proj` unchanged."""
    few = demo_utterances[:4]
    split = Split(few, batches_of(tiny, few), tiny.front_end, {})

    def find() -> dict[str, np.ndarray]:
        return equalise_channels(Stages(tiny.model), tiny.modules, split, 1.0, 99.9, 1e9)

    before = find()
    assert set(before) == {m.activation for m in tiny.modules} - {"cnn01"}
    with multiplied(tiny.model.hubert.encoder.layers[0].attention.v_proj, row=5, factor=64.0):
        after = find()
    ratio = after["transformer01.out"] / before["transformer01.out"]
    assert ratio[5] / ratio[4] == pytest.approx(64, rel=1e-3)
    assert np.ptp(np.delete(ratio, 5)) < 1e-3
    assert np.allclose(after["transformer01.qkv"], before["transformer01.qkv"], rtol=1e-4)


@contextmanager
def multiplied(operation: torch.nn.Linear, row: int, factor: float) -> Iterator[None]:
    """Inside the block one output channel of a Linear is multiplied."""
    for times in (factor, 1 / factor):
        operation.weight.data[row] *= times
        operation.bias.data[row] *= times
        if times == factor:
            yield


def test_only_as_much_audio_is_heard_as_asked_for(tiny: Recogniser, demo_utterances):
    few = demo_utterances[:6]
    split = Split(few, [[u] for u in few], tiny.front_end, {})
    stages = Stages(tiny.model)
    seconds = min(u.samples for u in few) / 16_000 + 0.01
    equalise_channels(stages, tiny.modules, split, 0.75, 99.9, seconds)
    assert stages.samples["head"] == sum(u.samples for batch in split.sample(seconds) for u in batch)
    assert stages.samples["head"] < sum(u.samples for u in few) / 2
