"""The search for a layer's cut-off, and the rules by which one is chosen."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from distributions import draw, histogram_of
from fake_recogniser import MODULES, FakeCalibrated

from stablequant.quantization.ranges import percentile_range
from stablequant.recognisers.modules import QuantizedModule
from stablequant.search.racing import Racing
from stablequant.search.racing_order import decision_points
from stablequant.search.search_percentile import (
    Candidate,
    WordTies,
    clipped,
    mark_best,
    outcome_of,
    search_percentile,
    unclipped,
)
from stablequant.search.trials import Experiment, Outcome, Trial, run_trials


def outcome(wer: float, divergence: float = 0.0) -> Outcome:
    return Outcome(wer, wer - 8, wer - 8.1, wer - 7.9, divergence, 10, [round(10 * wer)], [divergence])


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ({99.9: outcome(9.0), 99.0: outcome(8.5), 98.0: outcome(8.7)}, 99.0),
        ({99.9: outcome(8.5, 0.2), 99.0: outcome(8.5, 0.1), 98.0: outcome(9.0, 0.0)}, 99.0),
        ({98.0: outcome(8.5, 0.1), 99.9: outcome(8.5, 0.1), 99.0: outcome(8.5, 0.1)}, 99.9),
    ],
)
def test_lowest_wer_then_lowest_divergence_then_highest_percentile(outcomes, best):
    marked = mark_best([Candidate(percentile, found) for percentile, found in outcomes.items()])
    assert [c.percentile for c in marked if c.best] == [best]


def with_errors(percentile: float, errors: list[int], divergence: float) -> Candidate:
    return Candidate(percentile, Outcome(0, 0, 0, 0, divergence, len(errors), errors, [divergence] * len(errors)))


@pytest.mark.parametrize(
    ("lost", "points", "best"),
    [
        ([1, 0, 0, 0, 0, 0, 0, 0], 0.1, 99.99),  # one word more of 1,600 is 0.06 points, and may be chance
        ([1, 0, 0, 0, 0, 0, 0, 0], 0.05, 99.0),
        ([3, 0, 0, 0, 0, 0, 0, 0], 0.1, 99.0),  # 0.19 points
        ([1, 1, 1, 1, 1, 1, 1, 1], 0.6, 99.0),  # 0.5 points, in every utterance: no chance
    ],
)
def test_words_that_nearly_tie_leave_the_choice_to_divergence(lost, points, best):
    fewest, nearer = with_errors(99.0, [2] * 8, 0.02), with_errors(99.99, [2 + more for more in lost], 0.0002)
    ties = WordTies(np.full(8, 200), points, seed=0)
    assert [c.percentile for c in mark_best([nearer, fewest], ties) if c.best] == [best]
    assert [c.percentile for c in mark_best([nearer, fewest]) if c.best] == [99.0], "the paper's rule"


def test_ties_are_told_by_the_words_that_all_heard():
    """Both heard the first two utterances only, of 2 x 10 words, in which one error is 5 points."""
    part = replace(with_errors(99.99, [2, 2], 0.0001).outcome, errors=[2, 1, None], divergences=[0.0, 0.0, None])
    whole, ties = with_errors(99.0, [1, 1, 0], 0.5), WordTies(np.array([10, 10, 10_000]), 1.0, seed=0)
    assert [c.best for c in mark_best([Candidate(99.99, part), whole], ties)] == [False, True]


def test_a_candidate_that_was_given_up_never_wins():
    candidates = [Candidate(99.9, outcome(8.0), stopped=True), Candidate(99.0, outcome(8.5))]
    assert [c.best for c in mark_best(candidates)] == [False, True]


def test_what_was_heard_in_part_is_compared_on_that_part():
    """Racing ends a search with one cut-off left; 100 % was measured by the probe, on all audio."""
    whole = Candidate(100.0, Outcome(10.0, 0.4, 0.0, 0.8, 0.0, 4, [0, 0, 2, 2], [0.1] * 4))
    raced = Candidate(99.9, Outcome(5.0, 2.0, 0.0, 4.0, 0.0, 2, [0, 1, None, None], [0.1] * 2 + [None] * 2))
    assert [c.best for c in mark_best([whole, raced])] == [True, False]


def test_ties_are_broken_on_the_part_that_all_heard():
    """Over all that each heard, the first would diverge less."""
    whole = Candidate(100.0, Outcome(10.0, 0.4, 0.0, 0.8, 0.1, 4, [1, 0, 2, 2], [0.3, 0.1, 0.0, 0.0]))
    raced = Candidate(99.9, Outcome(5.0, 2.0, 0.0, 4.0, 0.15, 2, [0, 1, None, None], [0.2, 0.1, None, None]))
    assert [c.best for c in mark_best([whole, raced])] == [False, True]


def test_each_candidate_clips_the_layers_own_activations():
    histograms = {"cnn02": histogram_of(draw("heavy-tailed")), "head": histogram_of(draw("normal"))}
    modules = [QuantizedModule("cnn02", "cnn", "conv", "cnn02")]
    ranges = [clipped(modules, histograms, percentile) for percentile in (100, 99.9, 98.0)]
    assert [set(r) for r in ranges] == [{"cnn02"}] * 3
    reached = [r["cnn02"].amax for r in ranges]
    assert histograms["cnn02"].amax == reached[0] > reached[1] > reached[2] > 0
    assert ranges[1]["cnn02"] == percentile_range(histograms["cnn02"], 99.9)


def test_the_best_is_chosen_on_the_audio_that_every_candidate_heard():
    """One was ended early after utterances that are easy for it; on all that each heard it would win."""
    easy = Candidate(99.9, Outcome(5.0, 0, 0, 0, 0.1, 2, [1, 0, None, None], [0.1, 0.1, None, None]))
    whole = Candidate(99.0, Outcome(50.0, 0, 0, 0, 0.1, 4, [0, 0, 9, 9], [0.1] * 4))
    assert [c.best for c in mark_best([easy, whole])] == [False, True]
    other = Candidate(98.0, Outcome(50.0, 0, 0, 0, 0.1, 4, [9, 9, 0, 0], [0.1] * 4))
    given_up = replace(easy, stopped=True)
    assert [c.best for c in mark_best([whole, other, given_up])] == [True, False, False], "of equals the higher"
    late = replace(given_up, outcome=replace(easy.outcome, errors=[None, 0, None, None]))
    assert [c.best for c in mark_best([late, whole, other])] == [False, True, False], "what was given up heard less"


def test_a_row_holds_all_that_was_measured():
    found = Candidate(99.9, outcome(8.5), stopped=True)
    assert found.row() == {"percentile": 99.9, "best": False, "stopped": True, **asdict(found.outcome)}
    assert outcome_of({"layer": "cnn02", **found.row(), "above": None}) == found.outcome


def test_the_probe_is_the_candidate_that_clips_nothing_unless_racing_ended_it():
    rows = [
        {"layer": name, "kind": "cnn", "above": None, **asdict(outcome(wer))} for name, wer in (("a", 9), ("b", 10))
    ]
    assert unclipped(rows, "b") == [Candidate(100.0, outcome(10))]
    rows[1]["errors"] = [3, None]
    assert unclipped(rows, "b") == []
    assert unclipped(rows, "a") == [Candidate(100.0, outcome(9))]


GRID = [100.0, 99.5, 98.0, 90.0]


MIX = [m for m in MODULES if m.layer == "mix"]


def search(
    calibrated: FakeCalibrated, percentiles: list[float], racing: Racing | None = None, known: tuple = ()
) -> list[Candidate]:
    recogniser, calibration = calibrated.recogniser, calibrated.calibration
    return search_percentile(recogniser, MIX, calibrated.histograms, percentiles, calibration, racing, known)


@pytest.fixture(scope="module")
def whole(calibrated) -> list[Candidate]:
    """Every cut-off on all audio."""
    return search(calibrated, GRID)


def test_each_cut_off_is_measured_alone(calibrated, whole):
    assert [c.percentile for c in whole] == GRID
    for candidate in whole:
        histograms, percentile = calibrated.histograms, candidate.percentile
        ranges = {m.activation: percentile_range(histograms[m.activation], percentile) for m in MIX}
        trial = Trial(ranges, calibrated.calibration)
        run_trials(calibrated.recogniser, [Experiment(MIX, [trial])], calibrated.calibration)
        assert candidate.outcome == trial.outcome()
        assert not candidate.stopped and not candidate.best
    assert len({c.outcome.divergence for c in whole}) == 4


def raced_by_hand(
    calibrated: FakeCalibrated, whole: list[Candidate], racing: Racing, tried: int
) -> tuple[list[int], list[bool]]:
    """On how many utterances each of the first ``tried`` of ``whole`` is recognised, and which are given up.

    All compete, the others are known already.
    """
    order = [u.path for batch in calibrated.split.batches for u in batch]
    places = {u.path: i for i, u in enumerate(calibrated.split.utterances)}
    errors = np.array([c.outcome.errors for c in whole])
    nats = np.array([c.outcome.divergences for c in whole])
    running, ends = list(range(tried)), [40] * tried
    for look in decision_points(40):
        heard = [places[path] for path in order[:look]]
        competing = [*running, *range(tried, len(whole))]
        lost = racing.losers(errors[competing][:, heard], nats[competing][:, heard].sum(axis=1), 40 - look)
        for candidate, loses in zip(list(running), lost.tolist(), strict=False):
            if loses:
                ends[candidate] = look
                running.remove(candidate)
        if not running or (len(lost) > 1 and lost.sum() == len(lost) - 1):
            for candidate in running:
                ends[candidate] = look
            break
    return ends, [candidate not in running for candidate in range(tried)]


@pytest.mark.parametrize("confidence", [0.6, 0.9])
def test_racing_gives_up_whoever_can_hardly_win(calibrated, whole, confidence):
    racing = Racing(confidence, seed=0)
    raced = search(calibrated, GRID, racing)
    ends, given_up = raced_by_hand(calibrated, whole, racing, 4)
    assert [c.outcome.utterances for c in raced] == ends
    assert [c.stopped for c in raced] == given_up
    assert any(given_up) and not all(given_up)
    for candidate, full in zip(raced, whole, strict=True):
        assert all(e in (None, f) for e, f in zip(candidate.outcome.errors, full.outcome.errors, strict=True))


@pytest.mark.parametrize("confidence", [0.6, 0.9])
@pytest.mark.parametrize("known", [0, 1, 3])
def test_what_was_measured_before_competes_on_the_same_utterances(calibrated, whole, confidence, known):
    racing = Racing(confidence, seed=0)
    others = [c for number, c in enumerate(whole) if number != known]
    raced = search(calibrated, [c.percentile for c in others], racing, (whole[known],))
    ends, given_up = raced_by_hand(calibrated, [*others, whole[known]], racing, 3)
    assert [c.percentile for c in raced] == [c.percentile for c in others]
    assert [c.outcome.utterances for c in raced] == ends
    assert [c.stopped for c in raced] == given_up


def test_a_single_cut_off_hears_all(calibrated):
    (candidate,) = search(calibrated, [99.5], Racing(0.5, seed=0))
    assert candidate.outcome.utterances == 40
    assert not candidate.stopped
