"""Batches: of one length or barely padded, within the memory budget, in a fixed random order."""

import numpy as np

from stablequant.corpora.utterance import Utterance
from stablequant.recognisers.batches import PADDING, make_batches
from stablequant.recognisers.sizes import Footprint

BYTE = Footprint(1.0, 0.0, 320)


def utterance(name: str, samples: int) -> Utterance:
    return Utterance(name, name, samples, "x", "")


def test_without_padding_batches_hold_one_length_and_at_most_the_budget():
    utterances = [utterance(str(i), 16_000 * (1 + i % 3)) for i in range(50)]
    batches = make_batches(utterances, BYTE, 160_000)
    assert sorted(u.utterance for b in batches for u in b) == sorted(u.utterance for u in utterances)
    assert all(len({u.samples for u in batch}) == 1 for batch in batches)
    assert max(sum(u.samples for u in batch) for batch in batches) == 160_000
    assert len(make_batches([utterance("long", 10**7)], BYTE, 160_000)) == 1


def test_no_batch_is_larger_than_an_engine_takes():
    batches = make_batches([utterance(str(i), 16_000) for i in range(20)], BYTE, 10**6, most=8)
    assert [len(batch) for batch in batches] == [8, 8, 4]


def test_padded_batches_waste_little_and_are_fewer():
    draw = np.random.default_rng(0)
    utterances = [utterance(str(i), int(s)) for i, s in enumerate(draw.integers(16_000, 480_000, 200))]
    batches = make_batches(utterances, BYTE, 2_000_000, padded=True)
    assert sorted(u.utterance for b in batches for u in b) == sorted(u.utterance for u in utterances)
    for batch in batches:
        space = len(batch) * max(u.samples for u in batch)
        assert space <= 2_000_000
        assert sum(u.samples for u in batch) >= (1 - PADDING) * space
    assert len(batches) < len(make_batches(utterances, BYTE, 2_000_000)) / 3


def test_the_order_is_random_but_fixed():
    utterances = [utterance(str(i), 16_000 * (1 + i)) for i in range(30)]
    ordered = make_batches(utterances, BYTE, 10**6)
    shuffled = make_batches(utterances, BYTE, 10**6, seed=1)
    assert shuffled == make_batches(utterances, BYTE, 10**6, seed=1)
    assert shuffled != ordered
    assert shuffled != make_batches(utterances, BYTE, 10**6, seed=2)
    key = str
    assert sorted(shuffled, key=key) == sorted(ordered, key=key)
