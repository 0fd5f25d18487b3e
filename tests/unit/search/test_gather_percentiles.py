"""Searches in one table, and what is read off it."""

from dataclasses import asdict

import pandas as pd

from stablequant.search.gather_percentiles import (
    COLUMNS,
    best_percentiles,
    gather_percentiles,
    overruled,
    unrecovered_layers,
)
from stablequant.search.search_percentile import Candidate
from stablequant.search.trials import Outcome


def test_every_candidate_of_every_search_has_a_row():
    outcome = Outcome(9.0, 1.0, 0.5, 1.5, 0.1, 2, [1, 0], [0.2, 0.0])
    kept = Candidate(99.9, outcome, best=True)
    stopped = Candidate(99.0, Outcome(**asdict(outcome) | {"wer": 20.0}), stopped=True)
    searches = [{"layer": "a", "candidates": [kept.row(), stopped.row()]}, {"layer": "b", "candidates": [kept.row()]}]
    table = gather_percentiles(searches)
    assert list(table.columns) == COLUMNS
    assert table["layer"].tolist() == ["a", "a", "b"]
    assert table["percentile"].tolist() == [99.9, 99.0, 99.9]
    assert table["best"].tolist() == [True, False, True]
    assert table["stopped"].tolist() == [False, True, False]
    assert table["wer"].tolist() == [9.0, 20.0, 9.0]
    assert (table["best"].dtype, table["stopped"].dtype) == (bool, bool)
    assert best_percentiles(table) == {"a": 99.9, "b": 99.9}
    assert table["measured"].eq("recognised").all() and table["screen_divergence"].isna().all()
    nothing = gather_percentiles([])
    assert (len(nothing), list(nothing.columns), nothing["best"].dtype) == (0, COLUMNS, bool)
    assert best_percentiles(nothing) == {}
    assert unrecovered_layers(nothing, 0.25) == []
    assert overruled(table) == overruled(nothing) == 0, "there was no screen"


def test_words_overrule_the_screen_where_another_cut_off_is_best_than_its_own():
    rows = [
        ("a", 99.9, True, 0.2),
        ("a", 99.0, False, 0.3),
        ("b", 99.9, False, 0.2),
        ("b", 99.0, True, 0.3),
        ("c", 99.9, False, 0.4),
        ("c", 99.0, True, 0.1),
    ]
    assert overruled(pd.DataFrame(rows, columns=["layer", "percentile", "best", "screen_divergence"])) == 1


def test_unrecovered_are_those_that_no_cut_off_brings_below_the_threshold():
    """Of `b`, the one that does ties with the best; of `c`, it was given up, and nothing is known of it."""
    rows = [
        *(("a", 99.9, False, False, 0.4), ("a", 99.0, True, False, 0.3)),
        *(("b", 99.9, True, False, 0.275), ("b", 99.0, False, False, 0.2)),
        *(("c", 99.9, True, False, 0.5), ("c", 99.0, False, True, 0.1), ("c", 98.0, False, False, None)),
    ]
    table = pd.DataFrame(rows, columns=["layer", "percentile", "best", "stopped", "degradation"])
    assert unrecovered_layers(table, 0.25) == ["a", "c"]
    assert unrecovered_layers(table, 0.3) == ["c"]
    assert best_percentiles(table) == {"a": 99.0, "b": 99.9, "c": 99.9}
    assert best_percentiles(table.astype({"best": int})) == {"a": 99.0, "b": 99.9, "c": 99.9}, "as read from a file"
