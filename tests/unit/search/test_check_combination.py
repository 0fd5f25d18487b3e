"""All layers together are mended by the rules, step by step, on scripted outcomes."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from stablequant.search.check_combination import COLUMNS, OTHERS, Step, check_combination, step_table
from stablequant.search.combination import Choice
from stablequant.search.trials import Outcome

GRID = [99.9, 99.0]


def outcome(degradation: float, divergence: float) -> Outcome:
    return Outcome(10 + degradation, degradation, degradation - 1, degradation + 1, divergence, 4, [0] * 4, [0.0] * 4)


class Scripted:
    """Each layer adds its own loss, 1 for ``a``, 2 for ``b`` and so on, tenths of it at each cut-off; none in fp32."""

    layers = ("a", "b", "c", "d")

    def __init__(self, loss: Callable[[str, float], float], sizes: dict[str, int] | None = None) -> None:
        self._loss, self._sizes = loss, sizes or {}
        self.asked: list[tuple] = []

    def size(self, layer: str) -> int:
        return self._sizes.get(layer, 1)

    def _measure(self, choice: Choice) -> Outcome:
        total = sum(
            self._loss(x, choice.percentiles.get(x, 100.0)) for x in self.layers if x not in choice.float_layers
        )
        return outcome(total, total / 10)

    def recognise(self, choice: Choice) -> Outcome:
        self.asked.append(("all", choice))
        return self._measure(choice)

    def vary(
        self, base: Choice, variants: Sequence[tuple[Sequence[str], Choice]], audio_seconds: float = math.inf
    ) -> list[Outcome]:
        self.asked.append(("vary", base, [list(layers) for layers, _ in variants], audio_seconds))
        return [self._measure(choice) for _, choice in variants]


def told(steps: Sequence[Step]) -> list[tuple]:
    return [(s.step, s.layers, s.percentile, round(s.outcome.degradation, 6), s.kept) for s in steps]


def test_the_rest_is_searched_together_on_a_part_of_the_audio_and_then_all_is_measured():
    """Each layer loses least at 99: 1 of what it loses unclipped, at 99.9 half of it."""
    best = {100.0: 1.0, 99.9: 0.5, 99.0: 0.1}
    combination = Scripted(lambda layer, percentile: best[percentile])
    searched = Choice({"b": 99.9}, frozenset(["d"]))
    choice, steps = check_combination(combination, searched, GRID, ["b"], 0.75, 10.0, keep_float=True)
    assert choice == Choice({"a": 99.0, "b": 99.9, "c": 99.0}, frozenset(["d"]))
    assert told(steps) == [
        ("searched together", OTHERS, 100.0, 2.5, False),
        ("searched together", OTHERS, 99.9, 1.5, False),
        ("searched together", OTHERS, 99.0, 0.7, True),
        ("all layers", "all", None, 0.7, True),
    ]
    assert combination.asked == [("vary", searched, [["a", "c"]] * 3, 10.0), ("all", choice)]


def test_nothing_is_searched_together_where_each_was_searched():
    combination = Scripted(lambda layer, percentile: 0.0)
    searched = Choice(dict.fromkeys(combination.layers, 99.9))
    choice, steps = check_combination(combination, searched, GRID, ["a"], 0.0, 10.0, keep_float=True)
    assert choice is searched
    assert told(steps) == [("all layers", "all", None, 0.0, True)], "a loss of the threshold is no more than it"


def test_the_costliest_is_searched_again_until_the_loss_is_small_enough():
    """Unclipped `a` loses 1, `b` 4 and `c` 2, `d` 0.5; clipping `b` helps most, and then there is enough."""
    unclipped = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 0.5}
    shares = {100.0: 1.0, 99.9: 0.25, 99.0: 0.5}
    combination = Scripted(lambda layer, percentile: unclipped[layer] * shares[percentile])
    searched = Choice(dict.fromkeys("abcd", 100.0))
    choice, steps = check_combination(combination, searched, GRID, ["a", "b", "c"], 4.5, 10.0, keep_float=True)
    assert choice == Choice({"a": 100.0, "b": 99.9, "c": 100.0, "d": 100.0})
    assert told(steps) == [
        ("all layers", "all", None, 7.5, False),
        ("without", "a", None, 6.5, False),
        ("without", "b", None, 3.5, False),
        ("without", "c", None, 5.5, False),
        ("searched again", "b", 100.0, 7.5, False),
        ("searched again", "b", 99.9, 4.5, True),
        ("searched again", "b", 99.0, 5.5, False),
        ("all layers", "all", None, 4.5, True),
    ]
    assert combination.asked[1] == ("vary", searched, [["a"], ["b"], ["c"]], math.inf)
    assert combination.asked[2:] == [("vary", searched, [["b"]] * 3, 10.0), ("all", choice)], "on a part, then on all"
    choice, steps = check_combination(combination, searched, GRID, ["a", "b", "c"], 3.0, 10.0, keep_float=True)
    assert [step.layers for step in steps if step.step == "searched again"] == ["b"] * 3 + ["c"] * 3
    assert choice.percentiles == {"a": 100.0, "b": 99.9, "c": 99.9, "d": 100.0}
    assert [step.kept for step in steps if step.step == "all layers"] == [False, False, True]


def test_a_cut_off_that_loses_more_on_all_audio_than_the_part_told_is_not_taken():
    class Misled(Scripted):
        """On a part of the audio the cut-off of 99 seems best for each layer. On all of it, it is so for `a` only."""

        def vary(self, base, variants, audio_seconds=math.inf) -> list[Outcome]:
            found = super().vary(base, variants, audio_seconds)
            if audio_seconds == math.inf:
                return found
            return [
                outcome(o.degradation, -list(c.percentiles.values()).count(99.0))
                for o, (_, c) in zip(found, variants, strict=True)
            ]

    unclipped = {"a": 4.0, "b": 5.0, "c": 0.0, "d": 0.0}
    losses = {100.0: 1.0, 99.9: 1.0}
    combination = Misled(lambda layer, cut: unclipped[layer] * losses.get(cut, 0.25 if layer == "a" else 2))
    searched = Choice(dict.fromkeys("abcd", 100.0))
    choice, steps = check_combination(combination, searched, GRID, ["a", "b"], 1.0, 10.0, keep_float=False)
    assert choice.percentiles == {"a": 99.0, "b": 100.0, "c": 100.0, "d": 100.0}
    full = [step for step in told(steps) if step[0] == "all layers"]
    assert [(loss, kept) for *_, loss, kept in full] == [(9.0, False), (14.0, False), (6.0, True)]
    again = [(layer, cut) for step, layer, cut, _, kept in told(steps) if step == "searched again" and kept]
    assert again == [("a", 99.0)]


def test_the_others_are_searched_again_as_one():
    """`c` and `d` were not searched; `b` is a suspect that was not either, and so stands for itself."""
    combination = Scripted(lambda layer, percentile: {"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0}[layer])
    choice, steps = check_combination(combination, Choice({"a": 99.0}), GRID, ["a", "b"], -1.0, 10.0, keep_float=False)
    without = [step for step in told(steps) if step[0] == "without"]
    assert without == [
        ("without", "a", None, 8.0, False),
        ("without", "b", None, 7.0, False),
        ("without", OTHERS, None, 3.0, False),
    ]
    again = [step.layers for step in steps if step.step == "searched again"]
    assert again == [OTHERS] * 3 + ["b"] * 3 + ["a"] * 3
    varied = [layers for kind, *rest in combination.asked if kind == "vary" for layers in rest[1]]
    assert varied[:3] == [["b", "c", "d"]] * 3, "searched together, with the suspect"
    assert varied[3:6] == [["a"], ["b"], ["c", "d"]]
    assert varied[6] == ["c", "d"]
    assert not choice.float_layers


def test_what_is_in_floating_point_already_is_no_suspect():
    combination = Scripted(lambda layer, percentile: 1.0)
    searched = Choice(dict.fromkeys("bcd", 99.0), frozenset(["a"]))
    _, steps = check_combination(combination, searched, GRID, ["a", "b"], 0.0, 10.0, keep_float=True)
    assert [step.layers for step in steps if step.step == "without"] == ["b"]


def test_the_suspect_that_spares_most_for_its_weights_stays_in_floating_point_first(caplog):
    """`a` costs 4 with 100 weights, `b` 3 with 10, `c` 1 with 1: per weight 0.04, 0.3 and 1. No cut-off helps."""
    combination = Scripted(
        lambda layer, _: {"a": 4.0, "b": 3.0, "c": 1.0, "d": 0.5}[layer], {"a": 100, "b": 10, "c": 1, "d": 1}
    )
    searched = Choice(dict.fromkeys("abcd", 100.0))
    with caplog.at_level("INFO"):
        choice, steps = check_combination(combination, searched, GRID, ["a", "b", "c"], 4.5, 10.0, keep_float=True)
    kept = [step for step in told(steps) if step[0] == "left in floating point"]
    assert kept == [
        ("left in floating point", "c", None, 7.5, True),
        ("left in floating point", "b", None, 4.5, True),
    ]
    assert choice.float_layers == {"b", "c"}
    assert not any(record.levelname == "WARNING" for record in caplog.records)
    for message in (
        "all INT8: +8.50 points of WER",
        "all INT8 except a: +4.50 points of WER",
        "all INT8, a searched again at 100.0 %: +8.50 points of WER",
        "all INT8, b left in floating point: +4.50 points of WER",
    ):
        assert message in caplog.messages


def test_the_others_never_stay_in_floating_point_and_too_large_a_loss_is_reported(caplog):
    """They cost most for their weights; with a threshold that nothing meets all suspects stay."""
    combination = Scripted(lambda layer, _: {"a": 1.0, "b": 2.0, "c": 50.0, "d": 50.0}[layer])
    with caplog.at_level("INFO"):
        choice, steps = check_combination(combination, Choice({}), GRID, ["a", "b"], 1.0, 10.0, keep_float=True)
    assert "all INT8, the unsearched layers searched together at 100.0 %: +103.00 points of WER" in caplog.messages
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert choice.float_layers == {"a", "b"}
    assert [step.layers for step in steps if step.step == "left in floating point"] == ["b", "a"]
    assert warnings == [
        "quantized together, the layers lose 100.00 points on the calibration set; costliest: others, b, a"
    ]
    choice, _ = check_combination(combination, Choice({}), GRID, ["a", "b"], 1.0, 10.0, keep_float=False)
    assert choice.float_layers == frozenset()


def test_a_table_has_a_row_for_each_step():
    steps = [
        Step("searched together", OTHERS, 99.9, outcome(1.0, 0.1), kept=True),
        Step("all layers", "all", None, outcome(2.0, 0.2)),
    ]
    table = step_table(steps)
    assert list(table.columns) == COLUMNS
    assert table["step"].tolist() == ["searched together", "all layers"]
    assert table["kept"].tolist() == [True, False]
    assert table.iloc[0].to_dict() == {
        "step": "searched together",
        "layers": OTHERS,
        "percentile": 99.9,
        "kept": True,
        "utterances": 4,
        "wer": 11.0,
        "degradation": 1.0,
        "ci_low": 0.0,
        "ci_high": 2.0,
        "ci_over": "utterances",
        "divergence": 0.1,
    }
    assert np.isnan(table.iloc[1]["percentile"])
    assert list(step_table([]).columns) == COLUMNS
