"""Stopping early: right about as often as promised, and never before anything was heard."""

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial

from stablequant.search.racing import Racing
from stablequant.search.racing_order import decision_points

RACING = Racing(confidence=0.95, seed=0)


def decide(difference: np.ndarray, limit: float) -> tuple[bool | None, int]:
    """The decision and how many utterances it took."""
    for seen in decision_points(len(difference)):
        found = RACING.above(difference[:seen], len(difference) - seen, limit)
        if found is not None:
            return found, seen
    return bool(difference.sum() > limit), len(difference)


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


def test_a_candidate_that_diverges_less_stays_while_it_may_tie():
    """It is three words behind with one utterance to come: that is lost, but not where four words are a tie."""
    errors = np.zeros((2, 200), dtype=int)
    errors[1, :3] = 1
    for tie, lost in ((0.0, True), (4.0, False), (1.0, True)):
        assert RACING.losers(errors, np.array([0.2, 0.1]), 1, tie).tolist() == [False, lost]
        assert RACING.losers(errors, np.array([0.1, 0.2]), 1, tie).tolist() == [False, True], "it diverges more"


def test_the_leader_is_never_given_up():
    draw = np.random.default_rng(0)
    for _ in range(50):
        errors = draw.poisson(draw.uniform(0, 2, (6, 1)), (6, 40))
        divergences = draw.random(6)
        lost = RACING.losers(errors, divergences, 60)
        assert not lost[np.lexsort((divergences, errors.sum(axis=1)))[0]]


def totals_by_hand(difference: np.ndarray, unseen: int) -> dict[int, float]:
    """Probability of every total, from the closed form of the Dirichlet-multinomial distribution."""
    values = sorted({-1, 0, 1, *difference.tolist()})
    masses = [np.sum(difference == value) + (0.5 if abs(value) == 1 else 0) for value in values]
    found: dict[int, float] = {}

    def place(left: int, counts: list[int]) -> None:
        if len(counts) == len(values) - 1:
            chosen = np.array([*counts, left])
            present = np.array(masses) > 0
            if chosen[~present].any():
                return
            total = int(difference.sum() + chosen @ np.array(values))
            chance = dirichlet_multinomial.pmf(chosen[present], np.array(masses)[present], unseen)
            found[total] = found.get(total, 0) + float(chance)
            return
        for count in range(left + 1):
            place(left - count, [*counts, count])

    place(unseen, [])
    return found


SEEN = np.array([1] * 4 + [0] * 14 + [-1] * 2)  # two words lost in twenty utterances


@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.95])
def test_a_decision_falls_where_the_closed_form_is_as_sure_as_asked_for(confidence):
    chances = totals_by_hand(SEEN, 25)
    assert sum(chances.values()) == pytest.approx(1)
    found = []
    for limit in range(-8, 18):
        above = sum(chance for total, chance in chances.items() if total > limit)
        if min(abs(above - confidence), abs(above - (1 - confidence))) < 0.02:
            continue  # 4000 draws cannot tell
        expected = True if above > confidence else False if above < 1 - confidence else None
        found.append(Racing(confidence, seed=1).above(SEEN, 25, limit))
        assert found[-1] is expected, limit
    assert set(found) == {True, False, None}


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("diverges_less", [False, True])
def test_a_candidate_is_given_up_where_the_closed_form_is_as_sure_as_asked_for(confidence, diverges_less):
    """The chance to win is that of a total below 0, and at 0 of the lower divergence. Several may be given up."""
    leader = np.array([1, 0, 2, 0, 1, 3, 0, 0, 1, 0, 2, 1, 0, 0, 1, 1, 0, 2, 0, 1])
    divergences = np.array([0.1 if diverges_less else 0.3, 0.2, 0.4])
    found = []
    for lost in range(2, 9):
        candidate = leader.copy()
        candidate[:lost] += 1
        candidate[10] -= 1
        chances = totals_by_hand(candidate - leader, 15)
        wins = sum(chance for total, chance in chances.items() if total < 0 or (total == 0 and diverges_less))
        if abs(wins - (1 - confidence)) < 0.015:
            continue  # 4000 draws cannot tell
        errors = np.stack([candidate, leader, leader + 9])
        loses, *others = Racing(confidence, seed=1).losers(errors, divergences, 15).tolist()
        assert others == [False, True]
        assert loses == (wins < 1 - confidence), lost
        found.append(loses)
    assert set(found) == {True, False}


def test_equal_divergence_is_not_less():
    """Of two that err alike and diverge alike the first leads, and the other wins only with fewer errors."""
    errors = np.zeros((2, 100), dtype=int)
    assert RACING.losers(errors, np.array([0.1, 0.1]), 1).tolist() == [False, True]


def test_draws_are_seeded_whole_words_and_hold_what_was_seen():
    first, again, other = (Racing(0.95, seed)._totals(SEEN, 25) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.int64
    assert len(first) == 4000
    assert Racing(0.95, 0)._totals(SEEN, 0).tolist() == [2] * 4000
    chances = totals_by_hand(SEEN, 25)
    mean = sum(total * chance for total, chance in chances.items())
    deviation = np.sqrt(sum((total - mean) ** 2 * chance for total, chance in chances.items()))
    assert first.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(4000))
    assert first.std() == pytest.approx(deviation, rel=0.05)
