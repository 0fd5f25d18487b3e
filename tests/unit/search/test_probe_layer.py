"""Layers quantized alone, with and without racing."""

import numpy as np
from fake_recogniser import LAYERS, MODULES, FakeCalibrated

from stablequant.search.probe_layer import Probe, probe_layers
from stablequant.search.racing import Racing
from stablequant.search.racing_order import decision_points
from stablequant.search.trials import Calibration, Experiment, Trial, run_trials

THRESHOLD = 5.0  # points of WER


def probes(calibrated: FakeCalibrated, layers: list[str], racing: Racing | None = None) -> list[Probe]:
    recogniser, calibration = calibrated.recogniser, calibrated.calibration
    return probe_layers(recogniser, MODULES, layers, calibrated.largest, calibration, THRESHOLD, racing)


def alone(calibrated: FakeCalibrated, layer: str) -> dict:
    trial = Trial(calibrated.largest, calibrated.calibration)
    experiment = Experiment([m for m in MODULES if m.layer == layer], [trial])
    run_trials(calibrated.recogniser, [experiment], calibrated.calibration)
    return vars(trial.outcome())


def test_each_layer_is_quantized_alone_and_comes_in_the_order_asked_for(calibrated):
    found = probes(calibrated, ["head", "front", "mix"])
    for layer, probe in zip(["head", "front", "mix"], found, strict=True):
        assert vars(probe) == alone(calibrated, layer) | {"above": None}
    assert len({probe.divergence for probe in found}) == 3


def test_racing_ends_where_the_decision_is_sure(calibrated):
    """The oracle asks racing itself, on the errors of all audio, whenever it looks."""
    racing = Racing(0.9, seed=0)
    order = [u.path for batch in calibrated.split.batches for u in batch]
    places = {u.path: i for i, u in enumerate(calibrated.split.utterances)}
    reference = calibrated.calibration.reference.errors
    ends = []
    for layer, raced in zip(LAYERS, probes(calibrated, LAYERS, racing), strict=True):
        whole = alone(calibrated, layer)
        expected, seen = None, 40
        for look in decision_points(40):
            heard = sorted(places[path] for path in order[:look])
            difference = np.array(whole["errors"])[heard] - reference.errors[heard]
            expected = racing.above(difference, 40 - look, THRESHOLD / 100 * reference.words.sum())
            if expected is not None:
                seen = look
                break
        assert (raced.above, raced.utterances) == (expected, seen), layer
        heard = {places[path] for path in order[:seen]}
        assert raced.errors == [error if i in heard else None for i, error in enumerate(whole["errors"])]
        ends.append(seen)
    assert min(ends) < 40


def test_a_layer_that_loses_nothing_is_surely_below(calibrated, monkeypatch):
    """Its recognition is replaced by fp32's own; the threshold decides what nothing means."""
    reference = calibrated.calibration.reference.errors

    class Same(Trial):
        @property
        def errors(self):
            return self.reference

    monkeypatch.setattr("stablequant.search.probe_layer.Trial", Same)
    (probe,) = probes(calibrated, ["head"], Racing(0.9, seed=0))
    assert (probe.above, probe.degradation) == (False, 0)
    assert probe.utterances < 40
    (probe,) = probe_layers(
        calibrated.recogniser, MODULES, ["head"], calibrated.largest, calibrated.calibration, -50, Racing(0.9, seed=0)
    )
    assert probe.above is True
    words = reference.words.sum()
    assert words > 100


def test_a_race_that_stays_open_hears_all(calibrated):
    """The threshold is what the layer loses in the end, and nearly certain is asked for."""
    whole = alone(calibrated, "deep")
    calibration = Calibration(calibrated.split, calibrated.calibration.reference, None, 0)
    (probe,) = probe_layers(
        calibrated.recogniser,
        MODULES,
        ["deep"],
        calibrated.largest,
        calibration,
        whole["degradation"],
        Racing(0.9999, seed=0),
    )
    assert vars(probe) == whole | {"above": None}
