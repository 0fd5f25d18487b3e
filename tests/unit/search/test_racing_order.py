"""When racing decides, and that what it has seen by then is a random part."""

import numpy as np
import pytest

from stablequant.search.racing_order import decision_points, split_at_decisions


def test_looks_are_few_and_never_at_the_end():
    assert decision_points(1000) == [100, 150, 225, 338, 507, 760]
    assert [decision_points(total) for total in (0, 1, 2, 3)] == [[], [], [1], [1, 2]]


@pytest.mark.parametrize("total", [0, 1, 2, 3, 150])
def test_rounds_part_all_utterances_where_racing_decides_and_each_is_a_random_part(total):
    found = split_at_decisions(range(total), seed=0)
    assert np.cumsum([len(part) for part in found])[:-1].tolist() == decision_points(total)
    assert sorted(u for part in found for u in part) == list(range(total))
    if total == 150:
        first = [np.mean(split_at_decisions(range(total), seed)[0]) for seed in range(200)]
        assert np.mean(first) == pytest.approx(74.5, abs=3), "15 of 150: a standard error of 0.8"


def test_rounds_are_seeded_and_keep_what_they_part():
    """The parts are those of one random order, from its end: its start is what weights are rounded on."""
    letters = list("abcdefghijklmnopqrstuvwxyz")
    first, again, other = (split_at_decisions(letters, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [len(part) for part in first] == [3, 1, 2, 3, 5, 6, 6]
    order = np.random.default_rng(1).permutation(26)
    assert [letter for part in first for letter in part] == [letters[i] for i in order[::-1]]
