"""The rules by which layers and percentiles are chosen."""

import pytest

from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.search.optimise_scales import optimise_ranges
from stablequant.search.search_percentile import Candidate, clipped, mark_best
from stablequant.search.select_layers import select_layers
from stablequant.search.trials import Outcome


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


@pytest.fixture
def histograms():
    from test_mse import draw, histogram_of

    return {"cnn02": histogram_of(draw("heavy-tailed")), "head": histogram_of(draw("normal"))}


def test_each_candidate_clips_the_layers_own_activations(histograms):
    modules = [QuantizedModule("cnn02", "cnn", "conv", "cnn02")]
    ranges = [clipped(modules, histograms, percentile) for percentile in (100, 99.9, 98.0)]
    assert [set(r) for r in ranges] == [{"cnn02"}] * 3
    reached = [r["cnn02"].amax for r in ranges]
    assert histograms["cnn02"].amax == reached[0] > reached[1] > reached[2] > 0


def test_selection_is_strictly_above_the_threshold_and_says_how_sure_it_is():
    intervals = {
        "a": (0.25, 0.1, 0.4),
        "b": (0.26, 0.1, 0.4),
        "c": (5.0, 4.0, 6.0),
        "d": (0.0, 0.0, 0.1),
        "e": (9.0, 9.0, 9.0),
    }
    probes = [
        {"layer": layer, "kind": "cnn", **vars(outcome(9)), "degradation": lost, "ci_low": low, "ci_high": high}
        | {"utterances": 1 if layer == "e" else 2, "above": None}
        for layer, (lost, low, high) in intervals.items()
    ]
    table = select_layers(probes, 0.25).set_index("layer")
    assert table["selected"].to_dict() == {"a": False, "b": True, "c": True, "d": False, "e": True}
    assert table["sure"].to_dict() == {"a": False, "b": False, "c": True, "d": True, "e": False}
    raced = [row | {"above": {"a": True, "c": False}.get(row["layer"])} for row in probes]
    table = select_layers(raced, 0.25).set_index("layer")
    assert table["selected"].to_dict() == {"a": True, "b": True, "c": False, "d": False, "e": True}


def test_methods_differ_as_described(histograms):
    def ranges(method):
        return optimise_ranges(histograms, method, 99.0, {"cnn02": 99.0}).set_index("activation")

    maximum, uniform, mse, ours = (ranges(m) for m in ("max", "percentile", "mse", "stablequant"))
    assert maximum.loc["cnn02", "amax"] == histograms["cnn02"].amax
    assert (maximum["scale"] * 127).tolist() == pytest.approx(maximum["amax"].tolist())
    assert uniform.loc["head", "amax"] < mse.loc["head", "amax"] < maximum.loc["head", "amax"]
    assert ours.loc["cnn02", "amax"] <= uniform.loc["cnn02", "amax"]
    assert ours.loc["head"].equals(mse.loc["head"])
    assert ours["percentile"].to_dict() == {"cnn02": 99.0, "head": 100.0}
