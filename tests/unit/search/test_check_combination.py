"""All layers quantized together: measured as NumPy does, and mended by the rules, step by step on scripted outcomes."""

import math
from collections.abc import Callable, Sequence

import jiwer
import numpy as np
import pytest
import torch
from fake_recogniser import (
    LAYERS,
    MODULES,
    SHAPES,
    VOCABULARY,
    WEIGHTS,
    FakeCalibrated,
    FakeRecogniser,
    calibrate_fake,
    posteriors_by_hand,
    songs,
)
from scipy.special import rel_entr

from stablequant.quantization.int8 import dequantized, quantize_weight
from stablequant.quantization.least_error import mse_range
from stablequant.search.check_combination import (
    COLUMNS,
    OTHERS,
    Choice,
    Combination,
    Step,
    check_combination,
    step_table,
)
from stablequant.search.trials import Outcome

GRID = [99.9, 99.0]


def test_a_choice_is_changed_by_making_another():
    choice = Choice({"a": 99.0})
    assert choice.clipped(["a", "b"], 98.0) == Choice({"a": 98.0, "b": 98.0})
    assert choice.without(["b"]).without(["c"]) == Choice({"a": 99.0}, frozenset(["b", "c"]))
    assert choice.without(["b"]).clipped(["c"], 99.9).float_layers == {"b"}
    assert choice == Choice({"a": 99.0}, frozenset())


# A combination that makes its outcomes up, so that the rules can be followed one by one.


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


# The fake recogniser's layers together.


@pytest.fixture(scope="module", params=[4, 2], ids=["each layer resumable", "the last run together"])
def calibrated(request, tmp_path_factory) -> FakeCalibrated:
    draw = np.random.default_rng(0)
    levels, steps = quantize_weight(WEIGHTS["deep"])
    moved = np.clip(levels + draw.integers(-3, 4, levels.shape), -127, 127).astype(np.int8)
    recogniser = FakeRecogniser(songs(), resumable=request.param)
    return calibrate_fake(recogniser, tmp_path_factory.mktemp("together"), rounded={"deep": (moved, steps)})


@pytest.fixture
def combination(calibrated) -> Combination:
    return Combination(calibrated.recogniser, MODULES, calibrated.prepared, calibrated.calibration)


def measured_by_hand(calibrated: FakeCalibrated, choice: Choice) -> tuple[float, float]:
    """WER and divergence in NumPy, every quantized layer's range that of least error at its cut-off."""
    modules = [m for m in MODULES if m.layer not in choice.float_layers]
    read, weights = {}, {}
    for module in modules:
        percentile = choice.percentiles.get(module.layer, 100.0)
        scale = mse_range(calibrated.prepared[module.activation], percentile).scale
        read[module.activation] = lambda v, scale=scale: np.clip(np.rint(v / scale), -128, 127) * scale
        planted = calibrated.calibration.rounded.get(module.module)
        weights[module.module] = dequantized(*(planted or quantize_weight(WEIGHTS[module.module])))
    references, hypotheses, nats, frames = [], [], 0.0, 0
    for utterance in calibrated.split.utterances:
        samples = calibrated.recogniser.audio[utterance.path]
        exact, found = posteriors_by_hand(samples), posteriors_by_hand(samples, activations=read, weights=weights)
        references.append(utterance.transcript)
        hypotheses.append(VOCABULARY.decode(found.argmax(axis=-1)))
        nats += rel_entr(np.exp(exact), np.exp(found)).sum()
        frames += len(found)
    return 100 * jiwer.wer(references, hypotheses), nats / frames


def test_variants_are_what_numpy_measures(calibrated, combination):
    """In any order; some differ from the base in early layers, some in late ones, and one in two."""
    base = Choice({"front": 99.0, "deep": 99.9})
    variants = [
        (["head"], base.without(["head"])),
        (["front"], base.clipped(["front"], 95.0)),
        (["deep", "mix"], base.clipped(["deep", "mix"], 98.0)),
        (["near", "front"], base.without(["near", "front"])),
        (["mix"], base.without(["mix"]).clipped(["head"], 90.0)),
    ]
    for (layers, choice), outcome in zip(variants, combination.vary(base, variants), strict=True):
        wer, nats = measured_by_hand(calibrated, choice)
        assert outcome.divergence == pytest.approx(nats, rel=0.02), layers
        assert outcome.wer == pytest.approx(wer), layers
        assert outcome.utterances == 12
    assert combination.recognise(base).divergence == pytest.approx(measured_by_hand(calibrated, base)[1], rel=0.02)
    everything = combination.recognise(Choice({}).without(LAYERS))
    assert (everything.degradation, everything.divergence) == (0, pytest.approx(0, abs=1e-5))


def test_only_a_part_of_the_audio_is_recognised_where_that_is_asked_for(calibrated, combination):
    (outcome,) = combination.vary(Choice({}), [(["head"], Choice({}))], audio_seconds=2.0)
    expected = [u.path for batch in calibrated.split.sample(2.0) for u in batch]
    paths = [u.path for u in calibrated.split.utterances]
    assert 1 < outcome.utterances == len(expected) < 12
    assert [path for path, error in zip(paths, outcome.errors, strict=True) if error is not None] == sorted(expected)


def test_what_lies_before_the_variants_is_computed_once(calibrated, combination):
    recogniser = calibrated.recogniser
    recogniser.samples.clear()
    base, last = Choice({}), LAYERS[recogniser.resumable]
    combination.vary(base, [([last], base.without([last]))] * 3)
    total = sum(len(batch) * max(u.samples for u in batch) for batch in calibrated.split.batches)
    expected = {layer: total * (1 if n < recogniser.resumable else 3) for n, layer in enumerate(LAYERS)}
    assert recogniser.samples == expected


def test_progress_counts_ranges_and_every_variant(calibrated, combination, capsys):
    base = Choice({})
    combination.vary(base, [(["head"], base.clipped(["head"], percentile)) for percentile in (99.9, 99.0, 98.0)])
    printed = capsys.readouterr().err
    activations = len({m.activation for m in MODULES})
    head = len({m.activation for m in MODULES if m.layer == "head"})
    assert f"| {activations + 3 * head}/{activations + 3 * head} [" in printed.split("all layers quantized")[0]
    assert f"all layers quantized: 100%|##########| {3 * 12}/{3 * 12} [" in printed.replace("█", "#")
    combination.recognise(base)
    assert "ranges" not in capsys.readouterr().err, "they are known"


def test_afterwards_the_recogniser_is_in_floating_point_as_before(calibrated, combination):
    model = calibrated.recogniser.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    combination.recognise(Choice({}))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_layers_size_is_its_weights(combination):
    sizes = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
    assert {layer: combination.size(layer) for layer in LAYERS} == {
        layer: sum(sizes[m.module] for m in MODULES if m.layer == layer) for layer in LAYERS
    }
    assert combination.layers == LAYERS


def test_ranges_are_those_of_the_layers_that_are_quantized(calibrated, combination):
    choice = Choice({"mix": 99.0}, frozenset(["near"]))
    ranges = combination.ranges_of(choice)
    assert ranges == {
        m.activation: mse_range(calibrated.prepared[m.activation], 99.0 if m.layer == "mix" else 100.0)
        for m in MODULES
        if m.layer != "near"
    }
    assert combination.ranges_of(choice) == ranges
    assert [combination.percentile_of(choice, m) for m in MODULES] == [100.0, 99.0, 99.0, 99.0, 100.0, 100.0, 100.0]


def test_the_rules_hold_on_a_real_combination(combination):
    choice, steps = check_combination(combination, Choice({"mix": 99.0}), GRID, ["mix"], 100, 2.0, keep_float=True)
    together = [step for step in steps if step.step == "searched together"]
    assert {step.outcome.utterances for step in together} < set(range(1, 12))
    best = min(together, key=lambda step: step.outcome.divergence)
    assert choice.percentiles == dict.fromkeys(LAYERS, best.percentile) | {"mix": 99.0}
    assert steps[-1].outcome == combination.recognise(choice)
