"""Costs of the fake recogniser's layers, and of starting behind them, worked by hand."""

import math

import numpy as np
import pytest
import torch
from fake_recogniser import LAYERS, RATE, FakeRecogniser, songs

from stablequant.search.costs import Cost, layer_costs, passes, recomputed

FRAMES = RATE // 2  # of a second
MACS = {"front": 4 * 2, "mix": 4 * 6 * 2 + 6 * 6, "near": 6 * 2 * 3, "deep": 6 * 6, "head": 6 * 6}  # of a frame
ENTERING = {"front": RATE, "mix": 5 * FRAMES, "near": 7 * FRAMES, "deep": 7 * FRAMES, "head": 7 * FRAMES}  # numbers


def test_costs_by_hand():
    """A state behind the first layer has its channels and the shortcut's one, four bytes each."""
    recogniser = FakeRecogniser()
    recogniser.samples["near"] = 5
    costs = layer_costs(recogniser)
    assert list(costs) == LAYERS
    assert {layer: cost.macs * RATE for layer, cost in costs.items()} == pytest.approx(
        {layer: macs * FRAMES for layer, macs in MACS.items()}
    )
    assert {layer: cost.bytes * RATE for layer, cost in costs.items()} == pytest.approx(
        {layer: 4 * numbers for layer, numbers in ENTERING.items()}
    )
    assert recogniser.samples == {"near": 5}, "measuring is no work"
    assert not recogniser.model.deep._forward_hooks


def test_layers_that_run_together_are_counted_apart_and_no_pass_starts_in_them():
    costs = layer_costs(FakeRecogniser(resumable=2))
    assert {layer: cost.macs * RATE for layer, cost in costs.items()} == pytest.approx(
        {layer: macs * FRAMES for layer, macs in MACS.items()}
    )
    assert costs["near"].bytes == pytest.approx(4 * ENTERING["near"] / RATE)
    assert costs["deep"].bytes == costs["head"].bytes == math.inf


def test_one_pass_is_one_and_a_part_is_its_share():
    recogniser = FakeRecogniser(songs(3, equal=True))
    costs = layer_costs(recogniser)
    audio = {"hidden": torch.from_numpy(np.stack(list(recogniser.audio.values())))}
    context = recogniser.context([60] * 3)
    recogniser.recognise(audio, 0, context)
    assert passes(recogniser.samples, costs, 180) == pytest.approx(1)
    recogniser.run(audio, 0, 2, context)
    assert passes(recogniser.samples, costs, 180) == pytest.approx(1 + (8 + 84) / sum(MACS.values()))
    assert passes(recogniser.samples, costs, 90) == pytest.approx(2 * (1 + (8 + 84) / sum(MACS.values())))


def by_hand(macs: list[float], starts: list[int], kept: list[int]) -> float:
    """Layer by layer: go back to the last place where a pass may stop, from there to the last that is kept."""
    total = 0.0
    for layer in range(len(macs)):
        stop = layer
        while stop not in starts:
            stop -= 1
        start = stop
        while start not in (0, *kept):
            start -= 1
        total += sum(macs[start:stop])
    return total


def test_what_is_recomputed_is_the_way_from_the_nearest_kept_layer():
    assert recomputed([Cost(1000, 1), Cost(1500, 5), Cost(1000, 10)], []) == 1000 + 2500
    assert recomputed([Cost(1000, 1), Cost(1500, 5), Cost(1000, 10)], [1]) == 1500
    draw = np.random.default_rng(0)
    for _ in range(30):
        macs = draw.integers(1, 100, 7).tolist()
        last = int(draw.integers(2, 7))
        kept = [k for k in range(1, last + 1) if draw.random() < 0.4]
        costs = [Cost(m, 1.0 if layer <= last else math.inf) for layer, m in enumerate(macs)]
        assert recomputed(costs, kept) == by_hand(macs, list(range(last + 1)), kept)
