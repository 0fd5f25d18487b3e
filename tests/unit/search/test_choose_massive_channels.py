"""Channels that reach far beyond the rest: which are tried, and what is chosen."""

import math
from itertools import product
from pathlib import Path

import fake_recogniser
import numpy as np
import pytest
import torch
from fake_recogniser import MODULES, WEIGHTS, FakeRecogniser, calibrate_fake, posteriors_by_hand, songs, split_of
from scipy.special import rel_entr

from stablequant.quantization.collecting import Preparation
from stablequant.quantization.int8 import Range, dequantized, quantize_weight
from stablequant.quantization.least_error import mse_range
from stablequant.search import choose_massive_channels as stage
from stablequant.search.choose_massive_channels import (
    CARRIED,
    EQUALISED,
    NONE,
    PLAIN,
    SCALED,
    Chosen,
    Option,
    choose,
    choose_massive_channels,
    options_of,
    reach,
)
from stablequant.search.split import Split
from stablequant.workflow.procedure import MassiveChannels

SETTINGS = MassiveChannels(channels=[1, 2], reach=4.0, divergence=1e-9, gain=0.3, audio_seconds=1e9)


def forms(options: list[Option]) -> list[tuple[str, tuple[int, ...]]]:
    return [(option.form, option.channels) for option in options]


def test_how_far_channels_reach_is_relative_to_the_largest_of_the_rest():
    assert reach(np.array([1.0, 30.0, 2.0, 80.0]), 1) == pytest.approx(80 / 30)
    assert reach(np.array([1.0, 30.0, 2.0, 80.0]), 2) == 40
    assert reach(np.array([0.0, 5.0]), 1) == math.inf
    assert reach(np.zeros(3), 1) == 1


def test_the_channels_that_reach_farthest_are_tried_where_few_of_them_reach_far_enough():
    maxima = np.ones(64)
    maxima[[5, 60]] = 90.0, 80.0
    scales = np.linspace(1, 2, 64, dtype=np.float32)
    found = options_of(maxima, scales, False, [8, 1, 2, 9], 3.0)
    eight = tuple(sorted({5, 60, *range(7)}))
    two_or_eight = [[(form, channels) for channels in ((5, 60), eight)] for form in (SCALED, CARRIED)]
    expected = [(PLAIN, ()), *two_or_eight[0], (EQUALISED, ()), *two_or_eight[1]]
    assert forms(found) == expected, "one channel is as far as the next, 9 are too many"
    assert found[3].scales is scales
    assert all(option.scales is None for option in found if option.form in (PLAIN, CARRIED))
    assert found[1].scales.dtype == np.float32
    assert (maxima / found[1].scales).tolist() == [1.0] * 64
    assert forms(options_of(maxima, None, True, [2], 3.0)) == [(PLAIN, ()), (SCALED, (5, 60))], "grouped, not equalised"
    assert forms(options_of(maxima, scales, False, [8, 1, 2], 91.0)) == [(NONE, ())]


def test_channels_beside_a_silent_rest_are_scaled_to_the_least_of_them():
    maxima = np.zeros(16)
    maxima[[3, 4]] = 8.0, 2.0
    (scaled,) = (option for option in options_of(maxima, None, False, [2], 3.0) if option.form == SCALED)
    assert scaled.scales.tolist() == [1, 1, 1, 4, 1, *[1] * 11]


def test_channels_are_scaled_unless_that_is_clearly_worse_and_carried_where_it_gains_much():
    """Every list of five divergences on a small grid, by the definition."""
    forms = [PLAIN, SCALED, SCALED, EQUALISED, CARRIED, CARRIED]
    for divergences in product([0.0, 1.0, 2.0, 3.0, 8.0], repeat=6):
        for gain, tolerated in ((0.5, 0.5), (0.3, 1.5), (1.0, 0.0)):
            scaled, other, carried = (min(divergences[i] for i in at) for at in ((1, 2), (0, 3), (4, 5)))
            clearly = scaled - other > tolerated
            free = other if clearly else scaled
            before = min(scaled, other)
            much = before - carried > tolerated and before - carried >= gain * before
            good = [i for i in (4, 5) if divergences[i] - carried <= tolerated]
            found = choose(forms, divergences, gain, tolerated)
            if much:
                assert found == good[0], divergences
            elif scaled - other != tolerated:
                assert (forms[found] == SCALED) == (not clearly) and divergences[found] == free, divergences
    assert choose([PLAIN], [0.3], 0.5, 0.1) == 0
    assert choose([NONE], [math.nan], 0.5, 0.1) == 0
    assert choose([PLAIN, SCALED, CARRIED, CARRIED], [1.0, 2.0, math.inf, math.inf], 0.5, 0.1) == 0


def plant(monkeypatch, read: float) -> FakeRecogniser:
    """The second channel of what `mix.out` reads is 64 times larger. The weights that read it are smaller by `read`."""
    recogniser = FakeRecogniser(songs())
    for name, place, factor in (
        ("mix.left", (1, slice(None)), 64),
        ("mix.right", (1, slice(None)), 64),
        ("mix.out", (slice(None), 1), read),
    ):
        weight = WEIGHTS[name].copy()
        weight[place] *= np.float32(factor)
        monkeypatch.setitem(fake_recogniser.WEIGHTS, name, weight)
        recogniser.model.get_submodule(name).weight.data = torch.from_numpy(weight.copy())
    return recogniser


def divergence_by_hand(recogniser: FakeRecogniser, option: Option, seen: list, judged: list, folder: Path) -> float:
    """Nats per frame of ``judged`` with `mix.out` quantized as ``option`` says of ``seen``, in NumPy."""
    divisors = np.ones(6, dtype=np.float32) if option.scales is None else option.scales
    carried = {"mix.out": option.channels} if option.form == CARRIED else {}
    preparation = Preparation({"mix.out": divisors}, True, carried=carried)
    calibrating = Split([u for batch in seen for u in batch], seen, 16_000)
    chosen = mse_range(calibrate_fake(recogniser, folder, calibrating, preparation).prepared["mix.out"])
    weight = dequantized(*quantize_weight(WEIGHTS["mix.out"] * divisors))

    def rounded(values: np.ndarray, to: Range) -> np.ndarray:
        return np.clip(np.rint((values - to.centre) / to.scale), -128, 127) * to.scale + to.centre

    def read(values: np.ndarray) -> np.ndarray:
        divided = values / divisors[:, None]
        found = rounded(divided, chosen)
        if chosen.carried:
            massive, coarse = divided[list(chosen.carried.channels)], Range.symmetric(chosen.carried.amax)
            left = massive - rounded(massive, coarse)
            fine = np.clip(np.rint(left / coarse.scale * 254), -128, 127) * coarse.scale / 254
            found[list(chosen.carried.channels)] = rounded(massive, coarse) + fine
        return found

    nats, frames = 0.0, 0
    for samples in songs_of(recogniser, judged):
        exact = posteriors_by_hand(samples)
        quantized = posteriors_by_hand(samples, activations={"mix.out": read}, weights={"mix.out": weight})
        nats, frames = nats + rel_entr(np.exp(exact), np.exp(quantized)).sum(), frames + len(exact)
    return nats / frames


@pytest.mark.parametrize(("read", "form"), [(1 / 64, SCALED), (1.0, CARRIED)])
def test_the_choice_is_that_of_trying_everything_in_numpy(read, form, monkeypatch, tmp_path):
    """Where the weights are as much smaller, scaling undoes it; where they are not, they would get too coarse."""
    monkeypatch.setattr(stage, "FEW", 3)
    recogniser = plant(monkeypatch, read)
    equalised = {"mix.out": np.linspace(0.5, 2, 6, dtype=np.float32), "deep": np.full(6, 2, dtype=np.float32)}
    found = choose_massive_channels(recogniser, split_of(recogniser), Preparation(equalised, True), SETTINGS)
    seen, judged = split_of(recogniser).halves(SETTINGS.audio_seconds)
    maxima = np.max([np.abs(inputs_of(samples)).max(axis=1) for samples in songs_of(recogniser, seen)], axis=0)
    options = options_of(maxima, equalised["mix.out"], False, SETTINGS.channels, SETTINGS.reach)
    assert len(options) == 6
    expected = [divergence_by_hand(recogniser, option, seen, judged, tmp_path) for option in options]
    option = options[choose([o.form for o in options], expected, SETTINGS.gain, SETTINGS.divergence)]
    assert option.form == form
    row = found.table.set_index("activation").loc["mix.out"]
    assert (row["form"], row["channels"], row["layer"]) == (form, len(option.channels), "mix")
    assert row["divergence_before"] == pytest.approx(expected[0], rel=1e-2)
    assert row["divergence_after"] == pytest.approx(expected[options.index(option)], rel=0.05, abs=1e-6)
    assert row["more_products"] == pytest.approx(100 * 2 * len(option.channels) / 6 if form == CARRIED else 0)
    assert found.carried == ({"mix.out": option.channels} if form == CARRIED else {})
    assert found.channel_scales["deep"] is equalised["deep"]
    if form == SCALED:
        assert found.channel_scales["mix.out"] == pytest.approx(option.scales, rel=1e-5)
    else:
        assert "mix.out" not in found.channel_scales


def songs_of(recogniser: FakeRecogniser, batches: list) -> list[np.ndarray]:
    return [recogniser.audio[u.key] for batch in batches for u in batch]


def inputs_of(samples: np.ndarray) -> np.ndarray:
    """What `mix.out` reads, ``(channels, frames)``."""
    read: dict[str, np.ndarray] = {}
    fake_recogniser.by_hand(samples, read=read)
    return read["mix.out"]


def chosen_for(recogniser: FakeRecogniser, scales: dict[str, np.ndarray], settings: MassiveChannels) -> Chosen:
    return choose_massive_channels(recogniser, split_of(recogniser), Preparation(scales, True), settings)


def test_without_massive_channels_nothing_is_tried_and_nothing_changes(monkeypatch):
    monkeypatch.setattr(stage, "FEW", 3)
    recogniser = FakeRecogniser(songs())
    scales = {"deep": np.linspace(0.5, 2, 6, dtype=np.float32)}
    far = MassiveChannels([1, 2], 100.0, 0.0, 0.5, 1e9)
    split = split_of(recogniser)
    found = choose_massive_channels(recogniser, split, Preparation(scales, True), far)
    assert found.channel_scales == scales and found.carried == {}
    assert found.table["activation"].tolist() == list(dict.fromkeys(m.activation for m in MODULES))
    assert set(found.table["form"]) == {NONE} and not found.table["channels"].any()
    assert found.table["divergence_before"].isna().all()
    seen, _ = split.halves(1e9)
    assert recogniser.samples["head"] == sum(recogniser.context([u.samples for u in b]).samples for b in seen)


def test_nothing_is_carried_where_little_is_lost(monkeypatch):
    """The weights get too coarse by scaling, so that carrying the channel is best."""
    monkeypatch.setattr(stage, "FEW", 3)
    recogniser, scales = plant(monkeypatch, 1.0), {"mix.out": np.linspace(0.5, 2, 6, dtype=np.float32)}
    found = chosen_for(recogniser, scales, MassiveChannels([1, 2], 4.0, 1e3, 0.3, 1e9))
    row = found.table.set_index("activation").loc["mix.out"]
    assert row["form"] == SCALED and row["more_products"] == 0
    assert found.carried == {}
    assert chosen_for(recogniser, scales, SETTINGS).carried


def test_a_decoder_is_judged_along_the_tokens_of_fp32(monkeypatch):
    monkeypatch.setattr(stage, "FEW", 3)
    recogniser = plant(monkeypatch, 1 / 64)
    recogniser.guided = True
    found = chosen_for(recogniser, {}, SETTINGS)
    assert found.table.set_index("activation").loc["mix.out", "form"] == SCALED
