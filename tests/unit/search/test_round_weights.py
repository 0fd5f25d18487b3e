"""A recogniser's weights rounded for what they read."""

import numpy as np
import pytest
import torch
from fake_recogniser import MODULES, SHAPES, WEIGHTS, FakeRecogniser, by_hand, songs, split_of

from stablequant.quantization.gptq import compensated
from stablequant.quantization.int8 import quantize_weight
from stablequant.search.round_weights import round_weights


def moments_by_hand(recogniser: FakeRecogniser, paths: list[str], scales: dict) -> dict[str, np.ndarray]:
    """Of what each module's weights are multiplied with, ``(groups, columns, columns)``, channels divided first."""
    totals: dict[str, np.ndarray] = {}
    for path in paths:
        read: dict[str, np.ndarray] = {}
        by_hand(recogniser.audio[path], read=read)
        for module in MODULES:
            values = read[module.activation] / scales.get(module.activation, np.ones(1))[:, None]
            if module.module == "front":
                columns = values.reshape(1, -1, 2).swapaxes(1, 2)
            elif module.module == "near":
                padded = np.pad(values, ((0, 0), (1, 1)))
                places = np.stack([padded[:, place : place + values.shape[1]] for place in range(3)], axis=1)
                columns = places.reshape(3, 6, -1)
            else:
                columns = values[None]
            totals[module.module] = totals.get(module.module, 0) + columns @ columns.swapaxes(1, 2)
    return totals


def rounded_by_hand(moments: dict[str, np.ndarray], scales: dict) -> dict[str, np.ndarray]:
    levels = {}
    for module in MODULES:
        groups = 3 if module.module == "near" else 1
        weight = WEIGHTS[module.module]
        wide = np.ones(groups * weight.shape[1]) if module.activation not in scales else scales[module.activation]
        grouped = weight.reshape(groups, -1, weight.shape[1], int(np.prod(weight.shape[2:])))
        equalised = (grouped * wide.reshape(groups, 1, -1, 1)).reshape(len(weight), -1)
        units = equalised / (np.abs(equalised).max(axis=1) / 127)[:, None]
        values = torch.from_numpy(units.reshape(groups, len(weight) // groups, -1)).double()
        levels[module.module] = compensated(values, torch.from_numpy(moments[module.module])).reshape(weight.shape)
    return levels


@pytest.mark.parametrize("equalised", [False, True])
@pytest.mark.parametrize("seconds", [1e9, 2.0])
def test_every_weight_is_rounded_by_the_moments_of_what_it_reads(equalised, seconds):
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    draw = np.random.default_rng(0)
    channels = {"mix.in": 4, "mix.out": 6, "near": 6, "deep": 6, "head": 6}
    scales = {name: draw.uniform(0.2, 5, n).astype(np.float32) for name, n in channels.items()} if equalised else {}
    found = round_weights(recogniser, split, scales, seconds)
    assert list(found) == [m.module for m in MODULES]
    chosen = [u.path for batch in split.sample(seconds) for u in batch]
    expected = rounded_by_hand(moments_by_hand(recogniser, chosen, scales), scales)
    changed = 0
    for name, (levels, steps) in found.items():
        assert levels.shape == SHAPES[name]
        assert levels.dtype == np.int8
        assert np.mean(levels != expected[name].numpy()) <= 0.06, f"{name}: float32 moments may turn a tie"
        if not equalised:
            nearest, same = quantize_weight(WEIGHTS[name])
            assert steps.tolist() == same.tolist()
            changed += (levels != nearest).sum()
    assert equalised or changed > 10
