"""Which layers are recognised in full after a screen."""

from collections.abc import Mapping

import pytest

from stablequant.search.plan_probes import layers_to_probe

DIVERGENCES = {"a": 0.001, "b": 9.0, "c": 0.5, "d": 0.1, "e": 0.05, "f": 0.02, "g": 0.01}
BY_DIVERGENCE = ["b", "c", "d", "e", "f", "g", "a"]
THRESHOLD = 0.25  # points of WER


def screen(lost: Mapping[str, int], words: int = 150) -> list[dict]:
    return [
        {"layer": name, "kind": "cnn", "divergence": found, "lost": lost.get(name, 0), "words": words, "utterances": 20}
        for name, found in DIVERGENCES.items()
    ]


def probe(layer: str, degradation: float, low: float, high: float, utterances: int = 150) -> dict:
    measured = {"wer": 4 + degradation, "degradation": degradation, "ci_low": low, "ci_high": 9.0, "high_here": high}
    heard = {"ci_over": "speakers", "divergence": 0.1, "utterances": utterances, "above": None}
    return {"layer": layer, "kind": "cnn", **measured, **heard}


def clear(*layers: str) -> list[dict]:
    return [probe(layer, 0.0, -0.1, 0.1) for layer in layers]


def test_where_nothing_was_lost_those_that_diverge_most_are_asked_first():
    assert layers_to_probe(screen({}), [], THRESHOLD, 3) == ["b", "c", "d"]
    assert layers_to_probe(screen({}), [], THRESHOLD, 1) == ["b"]
    assert layers_to_probe(screen({}), [], THRESHOLD, 9) == BY_DIVERGENCE


def test_all_are_recognised_down_to_the_last_that_lost_words_and_some_more():
    assert layers_to_probe(screen({"b": 60, "e": 1}), [], THRESHOLD, 2) == ["b", "c", "d", "e", "f", "g"]
    assert layers_to_probe(screen({"e": 1}, words=1000), [], THRESHOLD, 2) == ["b", "c"], "a tenth of a point"


def test_it_ends_where_so_many_in_a_row_lose_clearly_less_than_the_threshold():
    probes = [probe("b", 5, 4, 6), *clear("c", "d", "e")]
    assert layers_to_probe(screen({"b": 60}), probes, THRESHOLD, 3) == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    "doubtful",
    [
        probe("d", 0.2, 0.0, 0.4),  # its interval holds the threshold
        probe("d", 0.3, 0.26, 0.4),  # selected, and surely
        probe("d", 0.3, 0.1, 0.4),  # selected
        probe("d", 0.0, 0.0, 0.0, utterances=1),  # an interval of one utterance says nothing
    ],
)
def test_a_layer_in_doubt_starts_the_count_anew(doubtful):
    probes = [probe("b", 5, 4, 6), *clear("c", "e"), doubtful]
    assert layers_to_probe(screen({"b": 60}), probes, THRESHOLD, 3) == ["b", "c", "d", "e", "f", "g"]


def test_what_racing_ended_early_was_clear():
    """The interval of the little that was heard is wide, but racing has weighed what the rest may bring."""
    probes = [probe("b", 5, 4, 6) | {"above": True}, *clear("c", "e")]
    raced = probe("d", 0.0, -1.0, 1.0, utterances=15) | {"above": False}
    assert layers_to_probe(screen({"b": 60}), [*probes, raced], THRESHOLD, 3) == ["b", "c", "d", "e"]
    over = raced | {"above": True}
    assert layers_to_probe(screen({"b": 60}), [*probes, over], THRESHOLD, 3) == ["b", "c", "d", "e", "f", "g"]


def test_where_doubt_never_ends_all_are_recognised():
    probes = [probe(layer, 0.2, 0.0, 0.4) for layer in BY_DIVERGENCE]
    assert layers_to_probe(screen({}), probes, THRESHOLD, 3) == BY_DIVERGENCE
