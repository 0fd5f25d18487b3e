"""The calibration set: which part of it the steps see that need only some audio."""

import numpy as np
import pytest

from stablequant.corpora.utterance import Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.sizes import Footprint
from stablequant.search.split import Split

BYTE = Footprint(1.0, 0.0, 320)


@pytest.mark.parametrize("padded", [False, True])
def test_a_sample_of_a_split_holds_the_same_utterances_however_large_batches_are(padded):
    draw = np.random.default_rng(0)
    utterances = [Utterance(str(i), str(i), int(s), "x", "") for i, s in enumerate(draw.integers(1, 6, 60) * 16_000)]
    samples = []
    for budget in (80_000, 10**6):
        batches = make_batches(utterances, BYTE, budget, padded, seed=3)
        split = Split(utterances, batches, 16_000, seed=3)
        sample = split.sample(20)
        drawn = [u for batch in sample for u in batch]
        assert 20 <= sum(u.samples for u in drawn) / 16_000 < 20 + 5
        assert all(any(set(map(id, part)) <= set(map(id, batch)) for batch in batches) for part in sample)
        assert split.sample(10**6) == batches
        samples.append({u.path for u in drawn})
    assert samples[0] == samples[1]
    assert samples[0] != {u.path for b in Split(utterances, batches, 16_000, seed=4).sample(20) for u in b}


def test_two_parts_of_a_split_have_no_utterance_in_common():
    draw = np.random.default_rng(0)
    utterances = [Utterance(str(i), str(i), int(s), "x", "") for i, s in enumerate(draw.integers(1, 6, 60) * 16_000)]
    split = Split(utterances, [utterances[:30], utterances[30:]], 16_000, seed=3)
    for seconds in (20, 10**6):
        first, other = ({u.path for batch in part for u in batch} for part in split.halves(seconds))
        assert first and other and not first & other
        if seconds == 20:
            assert first == {u.path for batch in split.sample(20) for u in batch}
            assert other == {u.path for batch in split.other_sample(20) for u in batch}
            assert not other & {u.path for batch in split.sample(100) for u in batch}
        else:
            assert len(first | other) == 60
    single = Split(utterances[:1], [utterances[:1]], 16_000)
    assert single.halves(20) == ([utterances[:1]], [utterances[:1]])
