"""A spike planted between two convolutions: the method must find exactly the layer that suffers, and heal it.

A channel between two convolutions gets outgoing weights of zero, so its size cannot matter to fp32, and incoming
weights enlarged until it dwarfs all other channels, so MAX calibration of the next layer has no levels left for them.
"""

import copy

import pytest
import torch
from conftest import Recogniser

from stablequant.collection import collecting
from stablequant.percentiles import search
from stablequant.recogniser import torch_infer
from stablequant.recognition import recognise
from stablequant.reference import Calibration, Reference
from stablequant.selection import select_layers
from stablequant.sensitivity import Probe, probe

THRESHOLD = 0.25
CHANNEL = 7
PRODUCER, VICTIM = 5, "cnn07"  # index of the convolution that spikes, and the layer that reads it
LAYERS = ["cnn05", "cnn06", VICTIM, "projection", "transformer01", "head"]


class Experiment:
    """The calibration set as the pipeline sees it, for one recogniser."""

    def __init__(self, recogniser: Recogniser, model: torch.nn.Module, utterances: list) -> None:
        self.model, self.modules = model, recogniser.modules
        with collecting(model, self.modules) as collectors:
            recognition = recognise(torch_infer(model), utterances, recogniser.front_end, 40, "fp32")
        self.histograms = {name: c.histogram() for name, c in collectors.items()}
        reference = Reference(recognition.score(utterances), recognition.log_posteriors)
        self.calibration = Calibration(utterances, recogniser.front_end, reference, 40, seed=0)

    def measure(self, layer: str, candidates: list[dict[str, float]]) -> list[Probe]:
        modules = [m for m in self.modules if m.layer == layer]
        return probe(self.model, modules, candidates, self.calibration, layer)

    def selected(self) -> set[str]:
        ranges = {name: h.amax for name, h in self.histograms.items()}
        probes = [{"layer": n, "kind": "", **vars(self.measure(n, [ranges])[0])} for n in LAYERS]
        table = select_layers(probes, THRESHOLD)
        return set(table.loc[table["selected"], "layer"])


def planted(model: torch.nn.Module, spike: float) -> torch.nn.Module:
    model = copy.deepcopy(model)
    layers = model.hubert.feature_extractor.conv_layers
    layers[PRODUCER].conv.weight[CHANNEL] *= spike
    layers[PRODUCER + 1].conv.weight[:, CHANNEL] = 0
    return model


@pytest.fixture(scope="module")
def experiments(demo, demo_utterances) -> dict[str, Experiment]:
    return {
        name: Experiment(demo, planted(demo.model, spike), demo_utterances)
        for name, spike in (("plain", 1.0), ("spiked", 3000.0))
    }


def test_fp32_does_not_see_the_spike(experiments):
    plain, spiked = (experiments[name].calibration.reference for name in ("plain", "spiked"))
    assert plain.errors.wer == spiked.errors.wer
    for path, rows in plain.log_posteriors.items():
        assert abs(rows - spiked.log_posteriors[path]).max() < 1e-3
    ratio = experiments["spiked"].histograms[VICTIM].amax / experiments["plain"].histograms[VICTIM].amax
    assert ratio > 20


def test_the_selection_gains_exactly_the_layer_behind_it_and_the_search_heals_it(experiments):
    plain, spiked = experiments["plain"], experiments["spiked"]
    before, after = plain.selected(), spiked.selected()
    assert after - before == {VICTIM}
    assert before <= after
    (maximum,) = spiked.measure(VICTIM, [{VICTIM: spiked.histograms[VICTIM].amax}])
    assert maximum.degradation > 10, "MAX calibration did not fail"
    candidates = search(
        {VICTIM: spiked.histograms[VICTIM]},
        [99.99, 99.9, 99.5, 99.0, 98.0],
        lambda ranges: spiked.measure(VICTIM, ranges),
    )
    best = next(c for c in candidates if c.best)
    (unspiked,) = plain.measure(VICTIM, [{VICTIM: plain.histograms[VICTIM].amax}])
    assert best.probe.degradation <= max(unspiked.degradation, 0) + THRESHOLD
