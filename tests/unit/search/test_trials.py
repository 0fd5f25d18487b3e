"""Trials: each is what NumPy computes with the same numbers, and they are decided when racing looks."""

import json
from collections.abc import Callable
from dataclasses import replace

import jiwer
import numpy as np
import pytest
from fake_recogniser import (
    LAYERS,
    MODULES,
    VOCABULARY,
    WEIGHTS,
    FakeCalibrated,
    FakeRecogniser,
    calibrate_fake,
    posteriors_by_hand,
    songs,
    split_of,
)
from scipy.special import rel_entr

from stablequant.errors import StableQuantError
from stablequant.quantization.int8 import Range, dequantized, quantize_weight
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.recogniser import Recognised
from stablequant.scoring.intervals import degradation_interval
from stablequant.search import hidden_values
from stablequant.search.racing_order import decision_points
from stablequant.search.trials import Calibration, Experiment, Trial, run_trials


@pytest.fixture
def calibrated(tmp_path) -> FakeCalibrated:
    return calibrate_fake(FakeRecogniser(songs()), tmp_path)


def of(layer: str) -> list:
    return [m for m in MODULES if m.layer == layer]


def rounding(chosen: Range, divisor: np.ndarray | float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Around 0, channels divided first."""
    return lambda values: np.clip(np.rint(values / divisor / chosen.scale), -128, 127) * chosen.scale


def measured_by_hand(calibrated: FakeCalibrated, layer: str, ranges: dict[str, Range]) -> tuple[list[int], list[float]]:
    """Errors and nats of each utterance, with the layer quantized."""
    weights = {m.module: dequantized(*quantize_weight(WEIGHTS[m.module])) for m in of(layer)}
    read = {m.activation: rounding(ranges[m.activation]) for m in of(layer)}
    errors, nats = [], []
    for utterance in calibrated.split.utterances:
        samples = calibrated.recogniser.audio[utterance.path]
        exact = posteriors_by_hand(samples)
        found = posteriors_by_hand(samples, activations=read, weights=weights)
        words = jiwer.process_words(utterance.transcript, VOCABULARY.decode(found.argmax(axis=-1)))
        errors.append(words.substitutions + words.deletions + words.insertions)
        nats.append(rel_entr(np.exp(exact), np.exp(found)).sum())
    return errors, nats


def test_each_layer_alone_is_what_numpy_computes(calibrated):
    """All in one job, in an order that is not the recogniser's; a layer has two trials."""
    largest = calibrated.largest
    clipped = {name: Range.symmetric(chosen.amax / 3) for name, chosen in largest.items()}
    experiments = [
        Experiment(of(layer), [Trial(ranges, calibrated.calibration) for ranges in (largest, clipped)])
        for layer in ["head", "mix", "near", "front", "deep"]
    ]
    run_trials(calibrated.recogniser, experiments, calibrated.calibration)
    frames = sum(u.samples // 2 for u in calibrated.split.utterances)
    reference = calibrated.calibration.reference.errors
    for experiment in experiments:
        for trial, ranges in zip(experiment.trials, (largest, clipped), strict=True):
            errors, nats = measured_by_hand(calibrated, experiment.layer, ranges)
            outcome = trial.outcome()
            assert outcome.errors == errors, experiment.layer
            assert outcome.divergences == pytest.approx(nats, rel=1e-2, abs=1e-4), experiment.layer
            assert outcome.divergence == pytest.approx(sum(nats) / frames, rel=1e-2)
            assert outcome.wer == pytest.approx(100 * sum(errors) / reference.words.sum())
            lost = sum(errors) - reference.errors.sum()
            assert outcome.degradation == pytest.approx(100 * lost / reference.words.sum())
            assert (outcome.ci_low, outcome.ci_high) == degradation_interval(trial.errors, reference, 0)
            assert outcome.utterances == 12
            json.dumps(vars(outcome))


def test_intervals_draw_the_speakers_that_the_corpus_names(tmp_path):
    """Also of a part of the audio, if it has several of them."""
    recogniser = FakeRecogniser(songs())
    plain = split_of(recogniser)
    named = [replace(u, speaker="abc"[number % 3]) for number, u in enumerate(plain.utterances)]
    batches = [[named[plain.utterances.index(u)] for u in batch] for batch in plain.batches]
    calibrated = calibrate_fake(recogniser, tmp_path, replace(plain, utterances=named, batches=batches))
    trial = Trial(calibrated.largest, calibrated.calibration)
    run_trials(recogniser, [Experiment(of("head"), [trial])], calibrated.calibration)
    reference = calibrated.calibration.reference.errors
    assert reference.speakers is not None
    assert reference.speakers.tolist() == [u.speaker for u in named]
    outcome = trial.outcome()
    assert outcome.ci_over == "speakers"
    assert (outcome.ci_low, outcome.ci_high) == degradation_interval(trial.errors, reference, 0)
    for heard, drawn in ((named[:1], "utterances"), (named[:2], "speakers"), (named[::3], "utterances")):
        part = Trial(calibrated.largest, calibrated.calibration)
        part.add(heard, [Recognised("A", calibrated.calibration.reference.posteriors[u.key]) for u in heard])
        assert part.outcome().ci_over == drawn


def test_channel_scales_and_rounded_weights_take_part(tmp_path):
    recogniser = FakeRecogniser(songs())
    plain = calibrate_fake(recogniser, tmp_path)
    scales = {"deep": np.logspace(-0.5, 0.5, 6).astype(np.float32)}
    levels, steps = quantize_weight(WEIGHTS["deep"] * scales["deep"])
    moved = np.clip(levels + np.random.default_rng(0).integers(-5, 6, levels.shape), -127, 127).astype(np.int8)
    outcomes = []
    for chosen, planted in (({}, {}), (scales, {}), (scales, {"deep": (moved, steps)})):
        calibration = Calibration(plain.split, plain.calibration.reference, None, 0, chosen, planted)
        trial = Trial({"deep": Range.symmetric(60.0)}, calibration)
        run_trials(recogniser, [Experiment(of("deep"), [trial])], calibration)
        divisor = chosen["deep"] if chosen else np.ones(6)
        weight = dequantized(*(planted["deep"] if planted else quantize_weight(WEIGHTS["deep"] * divisor)))
        nats = 0.0
        for samples in recogniser.audio.values():
            exact = posteriors_by_hand(samples)
            read = {"deep": rounding(Range.symmetric(60.0), divisor[:, None])}
            found = posteriors_by_hand(samples, activations=read, weights={"deep": weight})
            nats += rel_entr(np.exp(exact), np.exp(found)).sum()
        outcomes.append(trial.divergences.sum())
        assert outcomes[-1] == pytest.approx(nats, rel=1e-2)
    assert len({round(nats, 3) for nats in outcomes}) == 3


@pytest.mark.parametrize("resumable", [4, 2])
@pytest.mark.parametrize("guided", [False, True])
def test_stored_values_change_nothing_but_the_work(tmp_path, monkeypatch, resumable, guided):
    """Also of a recogniser that runs its last layers together only, and of one whose posteriors follow tokens."""
    monkeypatch.setattr(hidden_values, "MACS_PER_BYTE", 0)
    outcomes, work = [], []
    for name, cache_mb in (("none", 0), ("some", 0.012), ("all", 1)):
        (tmp_path / name).mkdir()
        recogniser = FakeRecogniser(songs(), resumable=resumable, guided=guided)
        calibrated = calibrate_fake(recogniser, tmp_path / name, cache_mb=cache_mb)
        recogniser.samples.clear()
        experiments = [Experiment(of(layer), [Trial(calibrated.largest, calibrated.calibration)]) for layer in LAYERS]
        run_trials(recogniser, experiments, calibrated.calibration)
        outcomes.append([experiment.trials[0].outcome() for experiment in experiments])
        work.append({layer: recogniser.samples[layer] for layer in LAYERS})
    total = sum(len(batch) * max(u.samples for u in batch) for batch in calibrated.split.batches)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(calibrated.calibration.hidden_values.layers) == resumable
    # A layer runs once for every trial at or before it, and without a cache once more on the way to the next.
    trials = {layer: number + 1 if number < resumable else 5 for number, layer in enumerate(LAYERS)}
    assert work[2] == {layer: total * times for layer, times in trials.items()}
    assert work[0] == {layer: total * (trials[layer] + (k < resumable)) for k, layer in enumerate(LAYERS)}
    assert sum(work[2].values()) < sum(work[1].values()) < sum(work[0].values())


def test_a_guided_recogniser_is_measured_along_the_tokens_of_fp32(tmp_path):
    """Positions are tokens; with its own tokens instead the divergence would be another."""
    recogniser = FakeRecogniser(songs(), guided=True)
    calibrated = calibrate_fake(recogniser, tmp_path)
    ranges = {name: Range.symmetric(chosen.amax / 2) for name, chosen in calibrated.largest.items()}
    trial = Trial(ranges, calibrated.calibration)
    run_trials(recogniser, [Experiment(of("near"), [trial])], calibrated.calibration)
    weights = fake_quantized_weights(recogniser.model, of("near"), {})
    nats = {}
    for along in (True, False):
        nats[along] = 0.0
        for utterance in calibrated.split.utterances:
            state, context = recogniser.load([utterance]), recogniser.context([utterance.samples])
            (exact,) = recogniser.recognise(state, 0, context)
            with fake_quantized(recogniser.model, of("near"), ranges, {}, weights):
                (found,) = recogniser.recognise(state, 0, context, [exact.guide] if along else None)
            nats[along] += rel_entr(np.exp(exact.log_posteriors), np.exp(found.log_posteriors)).sum()
    assert trial.divergences.sum() == pytest.approx(nats[True], rel=1e-3)
    assert nats[False] != pytest.approx(nats[True], rel=0.05)


def test_decisions_fall_at_the_first_batch_that_reaches_a_look(calibrated):
    """And not after the last, when all is known."""
    split = split_of(calibrated.recogniser, budget=500)
    seen: list[int] = []
    trial = Trial(calibrated.largest, Calibration(split, calibrated.calibration.reference, None, 0))

    def decide(trials: list[Trial]) -> bool:
        assert trials == [trial]
        seen.append(int(trial.seen.sum()))
        return False

    run_trials(calibrated.recogniser, [Experiment(of("head"), [trial], decide)], trial._calibration)
    ends = np.cumsum([len(batch) for batch in split.batches]).tolist()
    expected = sorted({min(end for end in ends if end >= look) for look in decision_points(12)} - {12})
    assert decision_points(12) == [2, 3, 5, 7, 10]  # at 1.2, 1.8, 2.7, 4.05, 6.1 and 9.1 utterances
    assert seen == expected
    assert len(seen) >= 3
    assert trial.outcome().utterances == 12


def test_what_is_decided_or_stopped_is_recognised_no_further(calibrated):
    split = split_of(calibrated.recogniser, budget=1)  # each alone
    calibration = Calibration(split, calibrated.calibration.reference, None, 0)
    first, second, third = (Trial(calibrated.largest, calibration) for _ in range(3))
    asked: list[int] = []

    def decide(trials: list[Trial]) -> bool:
        asked.append(len(trials))
        first.stopped = True
        return len(asked) == 2

    raced = Experiment(of("head"), [first, second], decide)
    plain = Experiment(of("mix"), [third])
    run_trials(calibrated.recogniser, [raced, plain], calibration)
    assert asked == [2, 1]
    assert [int(trial.seen.sum()) for trial in (first, second, third)] == [2, 3, 12]
    assert (raced.running, plain.running) == ([], [third])
    assert raced.decided and not plain.decided
    calibrated.recogniser.samples.clear()
    stopped = Experiment(of("head"), [first])
    run_trials(calibrated.recogniser, [stopped], calibration)
    assert not calibrated.recogniser.samples, "recognised for nobody"


def test_a_trial_that_saw_a_part_tells_which(calibrated):
    utterances = calibrated.split.utterances
    trial = Trial(calibrated.largest, calibrated.calibration)
    batch = [utterances[7], utterances[2]]
    context = calibrated.recogniser.context([u.samples for u in batch])
    trial.add(batch, calibrated.recogniser.recognise(calibrated.recogniser.load(batch), 0, context))
    assert trial.seen.tolist() == [number in (2, 7) for number in range(12)]
    reference = calibrated.calibration.reference.errors
    assert trial.reference.errors.tolist() == reference.errors[[2, 7]].tolist()
    assert trial.reference.words.tolist() == trial.errors.words.tolist() == reference.words[[2, 7]].tolist()
    outcome = trial.outcome()
    assert outcome.utterances == 2
    assert [e is None for e in outcome.errors] == [d is None for d in outcome.divergences] == (~trial.seen).tolist()
    assert outcome.degradation == 0
    assert outcome.divergence == pytest.approx(0, abs=1e-5)


def test_posteriors_that_are_not_finite_are_refused_by_name(calibrated):
    (utterance,) = calibrated.split.utterances[3:4]
    rows = np.zeros((utterance.samples // 2, 6), dtype=np.float32)
    rows[4, 1] = np.nan
    with pytest.raises(StableQuantError, match=utterance.path):
        Trial(calibrated.largest, calibrated.calibration).add([utterance], [Recognised("A", rows)])


def test_progress_counts_utterances_and_names_the_layers(calibrated, monkeypatch):
    shown = []

    class Bar:
        def __init__(self, *, total: int, label: str) -> None:
            shown.append([label, total])

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_) -> None:
            pass

        def update(self, count: int) -> None:
            shown[-1].append(count)

    monkeypatch.setattr("stablequant.search.trials.progress", Bar)
    experiments = [
        Experiment(of(layer), [Trial(calibrated.largest, calibrated.calibration)]) for layer in ("head", "mix")
    ]
    run_trials(calibrated.recogniser, experiments, calibrated.calibration)
    assert shown == [["mix head", 12, *(len(batch) for batch in calibrated.split.batches)]]
