"""Channels of a real recogniser's activations are brought to similar ranges."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from recognising import Loaded, split_in

from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.split import Split

pytestmark = pytest.mark.slow_unit


def test_a_channel_made_to_reach_farther_is_divided_by_so_much_more(tiny, demo_utterances):
    """One channel of the attention's values is multiplied, which reaches the input of `out_proj` unchanged."""
    split = split_in(tiny, demo_utterances[:4], 1e8)

    def find() -> dict[str, np.ndarray]:
        return equalise_channels(tiny.recogniser(), split, 1.0, 99.9, 1e9)

    before = find()
    assert set(before) == {m.activation for m in tiny.modules} - {"cnn01"}
    with multiplied(tiny.model.hubert.encoder.layers[0].attention.v_proj, row=5, factor=64.0):
        after = find()
    ratio = after["transformer01.out"] / before["transformer01.out"]
    assert ratio[5] / ratio[4] == pytest.approx(64, rel=1e-3)
    assert np.ptp(np.delete(ratio, 5)) < 0.1, "a channel's spikes count a little more where another reaches farther"
    assert np.array_equal(after["projection"], before["projection"])


@contextmanager
def multiplied(operation: torch.nn.Linear, row: int, factor: float) -> Iterator[None]:
    """Inside the block one output channel of a Linear is multiplied."""
    for times in (factor, 1 / factor):
        operation.weight.data[row] *= times
        operation.bias.data[row] *= times
        if times == factor:
            yield


def test_only_as_much_audio_is_heard_as_asked_for(tiny: Loaded, demo_utterances):
    few = demo_utterances[:6]
    split = Split(few, [[u] for u in few], tiny.front_end.sample_rate)
    recogniser = tiny.recogniser()
    seconds = min(u.samples for u in few) / 16_000 + 0.01
    equalise_channels(recogniser, split, 0.75, 99.9, seconds)
    assert recogniser.samples["head"] == sum(u.samples for batch in split.sample(seconds) for u in batch)
    assert recogniser.samples["head"] < sum(u.samples for u in few) / 2
