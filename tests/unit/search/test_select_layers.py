"""Which layers lose too much, and how sure that is."""

import re
from dataclasses import asdict

import pandas as pd
import pytest
from checkout import PROJECT

from stablequant.search.select_layers import COLUMNS, most_sensitive, overruled, select_layers
from stablequant.search.trials import Outcome
from stablequant.storage.files import read_table, write_table


def outcome(wer: float) -> Outcome:
    return Outcome(wer, wer - 8, wer - 8.1, wer - 7.9, 0.0, 10, [round(10 * wer)], [0.0])


def test_selection_is_strictly_above_the_threshold_and_says_how_sure_it_is():
    intervals = {
        "a": (0.25, 0.1, 0.4),
        "b": (0.26, 0.1, 0.4),
        "c": (5.0, 4.0, 6.0),
        "d": (0.0, 0.0, 0.1),
        "e": (9.0, 9.0, 9.0),
    }
    probes = [
        {"layer": layer, "kind": "cnn", **asdict(outcome(9)), "degradation": lost, "ci_low": low, "ci_high": high}
        | {"utterances": 1 if layer == "e" else 2, "above": None}
        for layer, (lost, low, high) in intervals.items()
    ]
    table = select_layers(probes, 0.25).set_index("layer")
    assert table["selected"].to_dict() == {"a": False, "b": True, "c": True, "d": False, "e": True}
    assert table["sure"].to_dict() == {"a": False, "b": False, "c": True, "d": True, "e": False}
    raced = [row | {"above": {"a": True, "c": False}.get(row["layer"])} for row in probes]
    table = select_layers(raced, 0.25).set_index("layer")
    assert table["selected"].to_dict() == {"a": True, "b": True, "c": False, "d": False, "e": True}
    assert list(table.columns) == [*COLUMNS[1:], "measured", "screen_divergence", "selected", "sure"]
    assert table["measured"].eq("recognised").all() and table["screen_divergence"].isna().all()


SCREEN = [
    {"layer": layer, "kind": "cnn", "divergence": found, "lost": 0, "words": 150, "utterances": 20}
    for layer, found in {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.2}.items()
]


def test_what_was_only_screened_has_a_divergence_and_no_words(tmp_path):
    probes = [
        {"layer": layer, "kind": "cnn", **asdict(outcome(9)), "divergence": 3.0, "above": None} for layer in ("c", "b")
    ]
    write_table(tmp_path / "sensitivity.tsv", select_layers(probes, 0.25, SCREEN))
    table = read_table(tmp_path / "sensitivity.tsv").set_index("layer")
    assert list(table.index) == ["a", "b", "c", "d"], "in the order of the screen"
    assert table["measured"].to_dict() == {"a": "screened", "b": "recognised", "c": "recognised", "d": "screened"}
    words = ["wer", "degradation", "ci_low", "ci_high", "ci_over", "sure"]
    assert table.loc[["a", "d"], words].isna().all(axis=None) and table.loc[["b", "c"], words].notna().all(axis=None)
    assert table["divergence"].to_dict() == {"a": 0.1, "b": 3.0, "c": 3.0, "d": 0.2}
    assert table["screen_divergence"].to_dict() == {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.2}
    assert table["utterances"].to_dict() == {"a": 20, "b": 10, "c": 10, "d": 20}
    assert table["selected"].to_dict() == {"a": False, "b": True, "c": True, "d": False}
    assert most_sensitive(table.reset_index(), 4)["layer"].tolist() == ["b", "c", "d", "a"]


def test_a_screen_of_which_all_were_recognised_changes_nothing_but_its_column():
    probes = [{"layer": row["layer"], "kind": "cnn", **asdict(outcome(9)), "above": None} for row in SCREEN]
    found, plain = select_layers(probes, 0.25, SCREEN), select_layers(probes, 0.25)
    assert found["screen_divergence"].tolist() == [row["divergence"] for row in SCREEN]
    pd.testing.assert_frame_equal(found.drop(columns="screen_divergence"), plain.drop(columns="screen_divergence"))


@pytest.mark.parametrize(("selected", "count"), [("", 0), ("c", 0), ("cb", 0), ("b", 1), ("ca", 1), ("da", 2)])
def test_words_overrule_the_screen_for_selected_layers_that_diverge_less_than_others(selected, count):
    table = pd.DataFrame({"layer": list("abcd"), "screen_divergence": [0.1, 0.5, 0.9, 0.2]})
    assert overruled(table.assign(selected=[layer in selected for layer in "abcd"])) == count


def test_a_threshold_on_an_interval_s_end_is_sure_only_above_it():
    """Selected is what loses more; an interval that ends at the threshold holds nothing above it."""
    ends = {"below": (0.0, 0.25), "above": (0.25, 0.5), "beyond": (0.26, 0.5), "before": (0.0, 0.24)}
    probes = [
        {"layer": name, "kind": "cnn", **asdict(outcome(9)), "ci_low": low, "ci_high": high, "above": None}
        for name, (low, high) in ends.items()
    ]
    table = select_layers(probes, 0.25).set_index("layer")
    assert table["sure"].to_dict() == {"below": True, "above": False, "beyond": True, "before": True}


def test_the_most_sensitive_lose_most_and_of_equals_diverge_most():
    rows = {"a": (1.0, 0.5), "b": (3.0, 0.1), "c": (1.0, 0.7), "d": (2.0, 0.0)}
    table = pd.DataFrame([(name, *row) for name, row in rows.items()], columns=["layer", "degradation", "divergence"])
    assert most_sensitive(table, 3)["layer"].tolist() == ["b", "d", "c"]
    assert most_sensitive(table, 9)["layer"].tolist() == ["b", "d", "c", "a"]


def test_equals_stay_in_the_order_of_the_table():
    """As many as pandas would not sort stably by itself."""
    layers = [f"layer{number:02d}" for number in range(60)]
    table = pd.DataFrame({"layer": layers, "degradation": 0.0, "divergence": 0.5})
    assert most_sensitive(table, 60)["layer"].tolist() == layers
    table.loc[40, "divergence"] = 0.7
    assert most_sensitive(table, 3)["layer"].tolist() == ["layer40", "layer00", "layer01"]


def test_nothing_else_orders_layers_by_what_they_lose():
    """Two orders would differ where layers tie. `plot_comparison` orders methods, not layers."""
    files = [file for folder in ("stablequant", "scripts", "rules") for file in (PROJECT / folder).rglob("*.*")]
    ordering = re.compile(r"(sort_values|sorted|nlargest)\([^)]*degradation")
    found = [file.name for file in files if file.suffix in (".py", ".smk") and ordering.search(file.read_text())]
    assert sorted(found) == ["plot_comparison.py", "select_layers.py"]
