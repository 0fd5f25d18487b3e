"""The rules by which layers and percentiles are chosen."""

import pytest

from stablequant.percentiles import search
from stablequant.scales import optimise_ranges
from stablequant.selection import select_layers
from stablequant.sensitivity import Probe


def outcome(wer: float, divergence: float = 0.0) -> Probe:
    return Probe(wer, wer - 8, wer - 8.1, wer - 7.9, divergence, [])


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ({99.9: outcome(9.0), 99.0: outcome(8.5), 98.0: outcome(8.7)}, 99.0),
        ({99.9: outcome(8.5, 0.2), 99.0: outcome(8.5, 0.1), 98.0: outcome(9.0, 0.0)}, 99.0),
        ({98.0: outcome(8.5, 0.1), 99.9: outcome(8.5, 0.1), 99.0: outcome(8.5, 0.1)}, 99.9),
    ],
)
def test_lowest_wer_then_lowest_divergence_then_highest_percentile(outcomes, best, histograms):
    candidates = search(histograms, list(outcomes), lambda ranges: list(outcomes.values()))
    assert [c.percentile for c in candidates if c.best] == [best]


@pytest.fixture
def histograms():
    from test_mse import draw, histogram_of

    return {"cnn02": histogram_of(draw("heavy-tailed")), "head": histogram_of(draw("normal"))}


def test_each_candidate_is_measured_at_its_own_clipped_range(histograms):
    seen = []
    search({"cnn02": histograms["cnn02"]}, [99.9, 98.0], lambda ranges: seen.extend(ranges) or [outcome(9.0)] * 2)
    assert histograms["cnn02"].amax > seen[0]["cnn02"] > seen[1]["cnn02"] > 0


def test_selection_is_strictly_above_the_threshold_and_says_how_sure_it_is():
    probes = [
        {"layer": "a", "kind": "cnn", "wer": 9, "degradation": 0.25, "ci_low": 0.1, "ci_high": 0.4, "divergence": 0},
        {"layer": "b", "kind": "cnn", "wer": 9, "degradation": 0.26, "ci_low": 0.1, "ci_high": 0.4, "divergence": 0},
        {"layer": "c", "kind": "cnn", "wer": 9, "degradation": 5.0, "ci_low": 4.0, "ci_high": 6.0, "divergence": 0},
        {"layer": "d", "kind": "cnn", "wer": 9, "degradation": 0.0, "ci_low": 0.0, "ci_high": 0.1, "divergence": 0},
    ]
    table = select_layers(probes, 0.25).set_index("layer")
    assert table["selected"].to_dict() == {"a": False, "b": True, "c": True, "d": False}
    assert table["sure"].to_dict() == {"a": False, "b": False, "c": True, "d": True}


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
