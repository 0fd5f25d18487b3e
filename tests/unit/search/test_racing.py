"""Stopping early: right about as often as promised, and never before anything was heard."""

import numpy as np
import pytest

from stablequant.corpora.list_utterances import Utterance, table_of
from stablequant.search.racing import Racing
from stablequant.search.racing_order import looks, rounds
from stablequant.search.recognise_reference import read_split
from stablequant.storage.files import write_table

RACING = Racing(confidence=0.95, seed=0)


def decide(difference: np.ndarray, limit: float) -> tuple[bool | None, int]:
    """The decision and how many utterances it took."""
    for seen in looks(len(difference)):
        found = RACING.above(difference[:seen], len(difference) - seen, limit)
        if found is not None:
            return found, seen
    return bool(difference.sum() > limit), len(difference)


def test_looks_are_few_and_never_at_the_end():
    assert looks(1000) == [100, 150, 225, 338, 507, 760]
    assert [looks(total) for total in (0, 1, 2, 3)] == [[], [], [1], [1, 2]]


@pytest.mark.parametrize("total", [0, 1, 2, 3, 150])
def test_rounds_part_all_utterances_where_racing_decides_and_each_is_a_random_part(total):
    found = rounds(range(total), seed=0)
    assert np.cumsum([len(part) for part in found])[:-1].tolist() == looks(total)
    assert sorted(u for part in found for u in part) == list(range(total))
    if total == 150:
        first = [np.mean(rounds(range(total), seed)[0]) for seed in range(200)]
        assert np.mean(first) == pytest.approx(74.5, abs=3), "15 of 150: a standard error of 0.8"


def test_batches_end_where_racing_decides(demo, demo_utterances, tmp_path):
    write_table(tmp_path / "utterances.tsv", table_of(demo_utterances, Utterance))
    plain, raced = (read_split(demo.folder, tmp_path / "utterances.tsv", 100, 0, raced) for raced in (False, True))
    ends = np.cumsum([len(batch) for batch in raced.batches]).tolist()
    assert {*looks(len(demo_utterances))} < {*ends}
    assert not {*looks(len(demo_utterances))} <= {*np.cumsum([len(batch) for batch in plain.batches]).tolist()}
    assert sorted(u.path for batch in raced.batches for u in batch) == sorted(u.path for u in demo_utterances)
    assert len(raced.batches) < len(demo_utterances), "each alone"


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.04, 0.06, 0.3])
def test_decisions_about_a_threshold_are_right_about_as_often_as_promised(rate):
    """Words lost at random, with a threshold of 20 words. Up to six decisions may go wrong, each with 5 %."""
    draw = np.random.default_rng(1)
    wrong = seen = 0
    runs = 100
    for _ in range(runs):
        difference = (draw.random(400) < rate).astype(int) * draw.integers(1, 3, 400)
        found, needed = decide(difference, 20)
        wrong += found != (difference.sum() > 20)
        seen += needed / 400 / runs
    assert wrong / runs <= 0.15
    assert seen < {0.0: 0.25, 0.02: 0.7, 0.04: 0.8, 0.06: 0.7, 0.3: 0.11}[rate]


def test_no_difference_so_far_is_not_certainty():
    assert RACING.above(np.zeros(10, dtype=int), 100, 2.5) is None
    assert RACING.above(np.full(10, 9), 100, 2.5) is True
    assert RACING.above(np.zeros(500, dtype=int), 500, 2.5) is False


def test_the_draws_are_the_closed_form_of_the_beta_binomial():
    """Of n seen utterances k lost a word: the share lost is Beta(k + 1/2, n - k + ...), its mean is known."""
    difference = np.array([1] * 30 + [0] * 70)
    totals = RACING._totals(difference, 300)
    mean = 30 + 300 * (30.5 - 0.5) / 101
    share = 30.5 / 101
    variance = 300 * share * (1 - share) * (101 + 300) / 102
    assert totals.mean() == pytest.approx(mean, rel=0.02)
    assert totals.std() == pytest.approx(np.sqrt(variance), rel=0.1)


def test_a_clear_loser_is_given_up_and_near_equals_are_not():
    draw = np.random.default_rng(0)
    base = draw.integers(0, 2, 60)
    near = base.copy()
    near[:5] += [1, 1, 1, -1, -1]
    far = base + draw.integers(0, 3, 60)
    lost = RACING.losers(np.stack([base, near, far]), np.array([0.1, 0.1, 0.1]), 100)
    assert lost.tolist() == [False, False, True]


def test_of_equals_the_lower_divergence_leads():
    errors = np.zeros((2, 100), dtype=int)
    assert RACING.losers(errors, np.array([0.2, 0.1]), 1).tolist() == [True, False]
    assert RACING.losers(errors, np.array([0.1, 0.2]), 1).tolist() == [False, True]


def test_the_leader_is_never_given_up():
    draw = np.random.default_rng(0)
    for _ in range(50):
        errors = draw.poisson(draw.uniform(0, 2, (6, 1)), (6, 40))
        divergences = draw.random(6)
        lost = RACING.losers(errors, divergences, 60)
        assert not lost[np.lexsort((divergences, errors.sum(axis=1)))[0]]
