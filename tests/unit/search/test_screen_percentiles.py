"""Cut-offs compared by divergence on a part of the audio, and those that are recognised after that."""

from dataclasses import asdict, replace
from functools import partial

import pytest
from fake_recogniser import MODULES, FakeCalibrated

from stablequant.search.screen_percentiles import (
    ScreenedCutoff,
    least_divergent,
    rows_of,
    screen_percentiles,
    search_screened,
)
from stablequant.search.search_percentile import Candidate, search_percentile

GRID = [100.0, 99.5, 98.0, 90.0, 70.0]
MIX = [m for m in MODULES if m.layer == "mix"]


@pytest.fixture(scope="module")
def whole(calibrated) -> dict[float, Candidate]:
    """Every cut-off on all audio."""
    found = search_percentile(calibrated.recogniser, MIX, calibrated.histograms, GRID, calibrated.calibration)
    return {candidate.percentile: candidate for candidate in found}


@pytest.fixture(scope="module")
def screen(calibrated) -> list[ScreenedCutoff]:
    """On all audio, in any order of the grid."""
    recogniser, histograms = calibrated.recogniser, calibrated.histograms
    return screen_percentiles(recogniser, MIX, histograms, GRID[::-1], calibrated.calibration, 1000)


def search(
    calibrated: FakeCalibrated, screen: list[ScreenedCutoff], threshold: float, known: tuple = ()
) -> list[Candidate]:
    measured = (calibrated.recogniser, MIX, calibrated.histograms)
    return search_screened(
        screen, partial(search_percentile, *measured, calibration=calibrated.calibration), threshold, known
    )


def screened(divergences: dict[float, float]) -> list[ScreenedCutoff]:
    return [ScreenedCutoff(percentile, found, 5) for percentile, found in divergences.items()]


def least_errors(candidates: list[Candidate]) -> float:
    """Of what was recognised, by the rule of the method."""
    return min(candidates, key=lambda c: (sum(c.outcome.errors), c.outcome.divergence, -c.percentile)).percentile


def test_the_screen_measures_what_a_search_does(calibrated, screen, whole):
    assert [cutoff.percentile for cutoff in screen] == GRID
    for cutoff in screen:
        outcome = whole[cutoff.percentile].outcome
        assert (cutoff.utterances, cutoff.divergence) == (40, pytest.approx(outcome.divergence))
    divergences = {percentile: found.outcome.divergence for percentile, found in whole.items()}
    assert least_divergent(screen) == min(divergences, key=divergences.__getitem__)


def test_a_part_of_the_audio_is_heard(calibrated):
    found = screen_percentiles(calibrated.recogniser, MIX, calibrated.histograms, GRID, calibrated.calibration, 2.5)
    chosen = [u for batch in calibrated.split.other_sample(2.5) for u in batch]
    assert {cutoff.utterances for cutoff in found} == {len(chosen)} and len(chosen) < 10


def test_of_equals_the_highest_is_taken():
    assert least_divergent(screened({98.0: 1.0, 100.0: 3.0, 99.5: 1.0, 90.0: 2.0})) == 99.5


def test_where_the_layer_loses_no_more_than_the_threshold_one_cut_off_is_recognised(calibrated, whole):
    (found,) = search(calibrated, screened({100.0: 3.0, 99.5: 2.0, 98.0: 1.0, 90.0: 4.0}), threshold=1000)
    assert found == replace(whole[98.0], best=True)


@pytest.mark.parametrize("start", GRID)
def test_in_doubt_the_neighbours_are_recognised_until_those_of_the_best_are(calibrated, whole, start):
    """Whatever the screen says, what is recognised is as a whole search measures it, and words choose."""
    cutoffs = screened({percentile: float(percentile != start) for percentile in GRID})
    found = search(calibrated, cutoffs, threshold=-1000)
    tried = [c.percentile for c in found]
    assert start in tried and tried == sorted(tried, reverse=True)
    assert [replace(c, best=False) for c in found] == [whole[percentile] for percentile in tried]
    (best,) = [c.percentile for c in found if c.best]
    assert best == least_errors(found)
    place = GRID.index(best)
    assert set(GRID[max(place - 1, 0) : place + 2]) <= set(tried)


def test_what_was_measured_before_is_not_recognised_again(calibrated, whole):
    cutoffs = screened({percentile: float(percentile != 100.0) for percentile in GRID})
    calibrated.recogniser.samples.clear()
    found = search(calibrated, cutoffs, threshold=1000, known=(whole[100.0],))
    assert [c.percentile for c in found] == [100.0] and not calibrated.recogniser.samples
    found = search(calibrated, cutoffs, threshold=-1000, known=(whole[100.0],))
    assert {100.0, 99.5} <= {c.percentile for c in found}


def test_a_cut_off_that_was_only_screened_has_no_words(whole):
    cutoffs = screened({99.5: 0.2, 98.0: 0.3})
    recognised, only = rows_of(cutoffs, [replace(whole[99.5], best=True)])
    assert recognised == replace(whole[99.5], best=True).row() | {"measured": "recognised", "screen_divergence": 0.2}
    assert only["measured"] == "screened" and not only["best"]
    assert not {"wer", "degradation", "errors"} & only.keys()
    assert (only["divergence"], only["screen_divergence"], only["utterances"]) == (0.3, 0.3, 5)
    assert set(asdict(whole[99.5].outcome)) <= recognised.keys()
