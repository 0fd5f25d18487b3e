"""What modules read is handed over once for each activation, an utterance at a time, without padding."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from fake_recogniser import MODULES, FakeRecogniser, by_hand, songs, split_of

from stablequant.search.module_inputs import measure_inputs


class Everything:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, activation: str, values: torch.Tensor) -> None:
        self.given[activation].append(values.numpy())


@pytest.mark.parametrize("equal", [True, False], ids=["of one length", "padded"])
def test_every_activation_of_every_utterance_is_what_numpy_computes(equal):
    recogniser = FakeRecogniser(songs(equal=equal))
    batches = split_of(recogniser).batches
    everything = Everything()
    measure_inputs(recogniser, batches, everything, "test")
    assert set(everything.given) == {m.activation for m in MODULES}
    order = [u for batch in batches for u in batch]
    for number, utterance in enumerate(order):
        read: dict[str, np.ndarray] = {}
        by_hand(recogniser.audio[utterance.path], read=read)
        for name, values in read.items():
            found = everything.given[name][number]
            assert found.shape == values.shape, name
            assert found == pytest.approx(values, rel=1e-4, abs=1e-4), name
    assert {len(given) for given in everything.given.values()} == {len(order)}


def test_nothing_is_handed_over_afterwards():
    recogniser, everything = FakeRecogniser(songs(2)), Everything()
    batches = split_of(recogniser).batches
    measure_inputs(recogniser, batches, everything, "test")
    recogniser.recognise(recogniser.load(batches[0]), 0, recogniser.context([u.samples for u in batches[0]]))
    assert {len(given) for given in everything.given.values()} == {2}


def test_an_error_leaves_no_hook_behind():
    recogniser = FakeRecogniser(songs(2))

    class Broken:
        def add(self, activation: str, values: torch.Tensor) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_inputs(recogniser, split_of(recogniser).batches, Broken(), "test")
    assert not any(module._forward_pre_hooks for module in recogniser.model.modules())
