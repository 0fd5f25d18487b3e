"""All layers quantized together are measured as NumPy does."""

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
    check_combination,
)
from stablequant.search.combination import Choice, Combination

GRID = [99.9, 99.0]


def test_a_choice_is_changed_by_making_another():
    choice = Choice({"a": 99.0})
    assert choice.clipped(["a", "b"], 98.0) == Choice({"a": 98.0, "b": 98.0})
    assert choice.without(["b"]).without(["c"]) == Choice({"a": 99.0}, frozenset(["b", "c"]))
    assert choice.without(["b"]).clipped(["c"], 99.9).float_layers == {"b"}
    assert choice == Choice({"a": 99.0}, frozenset())


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
    expected = [u.path for batch in calibrated.split.other_sample(2.0) for u in batch]
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
