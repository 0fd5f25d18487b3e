"""How far channels reach, and the scales of a recogniser's activations."""

import numpy as np
import pytest
import torch
from distributions import noise
from fake_recogniser import MODULES, WEIGHTS, FakeRecogniser, by_hand, songs, split_of

from stablequant.search.equalise_channels import ChannelPercentiles, equalise_channels


@pytest.mark.parametrize("percentile", [100, 99.9, 90])
def test_how_far_channels_reach_is_the_percentile_of_all_utterances_together(percentile):
    lengths = ((150, 1), (40, 5), (2000, 1), (155, 0.1))
    utterances = [noise(3, frames).astype(np.float32) * scale for frames, scale in lengths]
    extents = ChannelPercentiles(percentile, {"fc1": sum(u.shape[1] for u in utterances)})
    for utterance in utterances:
        extents.add("fc1", torch.from_numpy(utterance))
    everything = np.abs(np.concatenate(utterances, axis=1))
    expected = np.percentile(everything, percentile, axis=1, method="inverted_cdf")
    assert extents.reached()["fc1"].tolist() == expected.tolist()
    assert extents.reached()["fc1"].dtype == np.float64
    assert extents.maxima()["fc1"].tolist() == everything.max(axis=1).tolist()
    assert extents.maxima()["fc1"].dtype == np.float64


def test_one_spike_does_not_move_how_far_a_channel_reaches():
    utterances = [noise(2, 100).astype(np.float32) for _ in range(20)]
    utterances[7][1, 50] = 1e6
    extents = ChannelPercentiles(99.9, {"fc1": 2000})
    for utterance in utterances:
        extents.add("fc1", torch.from_numpy(utterance))
    assert extents.reached()["fc1"][1] == np.abs(noise(2, 100).astype(np.float32)[1]).max()


@pytest.mark.parametrize("percentile", [99.9, 99.0, 95.0, 50.0])
@pytest.mark.parametrize("count", [1, 19, 20, 99, 100, 101, 1000])
def test_the_percentile_of_any_count(percentile, count):
    """Of 1000 values at 99.9 % one may lie above, though 99.9 is a little less in binary."""
    values = np.random.default_rng(count).permutation(count).astype(np.float32)[None]
    extents = ChannelPercentiles(percentile, {"fc1": count})
    for part in np.array_split(values, 3, axis=1):
        if part.size:
            extents.add("fc1", torch.from_numpy(part))
    may_lie_above = int((1000 - round(10 * percentile)) * count // 1000)
    assert extents.reached()["fc1"].tolist() == [count - 1 - may_lie_above]


def test_activations_are_kept_apart_and_no_more_than_can_matter():
    extents = ChannelPercentiles(90.0, {"a": 20, "b": 10})
    extents.add("a", torch.arange(20.0)[None])
    extents.add("b", -torch.arange(10.0)[None])
    assert {name: values.tolist() for name, values in extents.reached().items()} == {"a": [17.0], "b": [8.0]}
    assert {name: values.shape for name, values in extents._largest.items()} == {"a": (1, 3), "b": (1, 2)}


def scales_by_hand(
    recogniser: FakeRecogniser, paths: list[str], exponent: float, percentile: float
) -> dict[str, np.ndarray]:
    """extent^exponent / weight^(1 - exponent), with a geometric mean of 1; extents are limited from below."""
    parts: dict[str, list[np.ndarray]] = {}
    for path in paths:
        read: dict[str, np.ndarray] = {}
        by_hand(recogniser.audio[path], read=read)
        for name, values in read.items():
            parts.setdefault(name, []).append(np.abs(values))
    scales = {}
    for name, values in parts.items():
        everything = np.concatenate(values, axis=1)
        if len(everything) == 1:
            continue
        reached = np.percentile(everything, percentile, axis=1, method="inverted_cdf")
        largest = np.zeros(len(everything))
        for module in MODULES:
            if module.activation == name:
                weight = np.abs(WEIGHTS[module.module])
                for channel in range(len(everything)):
                    rows = slice(channel // 2 * 2, channel // 2 * 2 + 2) if name == "near" else slice(None)
                    column = channel % 2 if name == "near" else channel
                    largest[channel] = max(largest[channel], weight[rows, column].max())
        reached = np.maximum(reached, np.minimum(everything.max(axis=1), reached.max()) / 4)
        products = reached * largest
        reached = np.maximum(products, 0.1 * np.median(products)) / largest
        raw = reached**exponent / largest ** (1 - exponent)
        scales[name] = raw / np.prod(raw) ** (1 / len(raw))
    return scales


@pytest.mark.parametrize(("exponent", "percentile"), [(0.75, 99.0), (0.0, 100), (1.0, 98.0)])
def test_scales_are_those_by_hand(exponent, percentile):
    """All modules that read an activation count: the first and the second of `mix.in` are largest in channels each."""
    recogniser = FakeRecogniser(songs())
    found = equalise_channels(recogniser, split_of(recogniser), exponent, percentile, 1e9)
    expected = scales_by_hand(recogniser, list(recogniser.audio), exponent, percentile)
    left, right = (np.abs(WEIGHTS[f"mix.{side}"]).max(axis=0) for side in ("left", "right"))
    assert (left > right).any() and (right > left).any()
    assert found.keys() == expected.keys() == {m.activation for m in MODULES} - {"front"}, "the audio has one channel"
    for name, scales in found.items():
        assert scales.dtype == np.float32
        assert scales == pytest.approx(expected[name], rel=1e-4), name


def test_only_as_much_audio_is_heard_as_asked_for():
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    chosen = [u.path for batch in split.sample(2.0) for u in batch]
    assert 2 <= len(chosen) < 12
    found = equalise_channels(recogniser, split, 1.0, 100, 2.0)
    expected = scales_by_hand(recogniser, chosen, 1.0, 100)
    assert all(scales == pytest.approx(expected[name], rel=1e-4) for name, scales in found.items())
