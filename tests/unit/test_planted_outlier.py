"""A spike planted between two convolutions: the method must find exactly the layer that suffers, and heal it.

A small recogniser with group norm learns to spell tones, which takes seconds. Then a channel between two convolutions
gets outgoing weights of zero, so that its size cannot matter to fp32, and incoming weights enlarged until it dwarfs all
other channels, so that MAX calibration of the next layer has no levels left for them.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import PROJECT, Recogniser, write_tiny_checkpoint

from stablequant.collection import collecting
from stablequant.percentiles import search
from stablequant.recogniser import torch_infer
from stablequant.recognition import recognise
from stablequant.reference import Calibration, Reference
from stablequant.selection import select_layers
from stablequant.sensitivity import Probe, probe
from stablequant.utterances import Utterance

THRESHOLD = 0.25
PRODUCER, VICTIM = 2, "cnn04"  # index of the convolution that spikes, and the layer that reads it
TONES = {"E": 300, "T": 500, "A": 800, "O": 1250, "N": 2000, "I": 3100}  # hertz
TONE, GAP, RATE, HOP = 3200, 1600, 16_000, 320  # samples of a tone, of the gap after it; per second; per frame
LENGTH = 5  # tones in an utterance
STEPS = 150
GRID = yaml.safe_load((PROJECT / "config.yaml").read_text())["percentiles"]


def sing(draw: np.random.Generator) -> tuple[np.ndarray, str]:
    """Samples of a few tones in noise and their letters."""
    letters = draw.choice(list(TONES), size=LENGTH)
    samples = 0.01 * draw.standard_normal(GAP + LENGTH * (TONE + GAP))
    for i, letter in enumerate(letters):
        start = GAP + i * (TONE + GAP)
        phase, level = draw.uniform(0, 2 * np.pi), draw.uniform(0.1, 0.4)
        samples[start : start + TONE] += level * np.sin(phase + 2 * np.pi * TONES[letter] / RATE * np.arange(TONE))
    return samples.astype(np.float32), "".join(letters)


def frame_classes(letters: str, tokens: list[str], frames: int) -> torch.Tensor:
    """The letter while it sounds, a word's end in the gaps."""
    centres = np.arange(frames) * HOP + 200
    place = (centres - GAP) % (TONE + GAP)
    which = (centres - GAP) // (TONE + GAP)
    sounding = (centres >= GAP) & (place < TONE) & (which < LENGTH)
    spelled = [tokens.index(letters[w]) if s else tokens.index("|") for w, s in zip(which, sounding, strict=True)]
    return torch.tensor(spelled)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> Recogniser:
    """Every tone a word of one letter, spelled frame by frame."""
    folder = tmp_path_factory.mktemp("tones")
    write_tiny_checkpoint(folder, conv_dim=(32,) * 7)
    trained = Recogniser.load(folder)
    tokens = trained.front_end.vocabulary.tokens
    draw = np.random.default_rng(0)
    model = trained.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, step / 20, (STEPS - step) / 60)
        songs = [sing(draw) for _ in range(12)]
        audio = torch.from_numpy(np.stack([(s - s.mean()) / s.std() for s, _ in songs]))
        logits = model(audio).logits
        wanted = torch.stack([frame_classes(letters, tokens, logits.shape[1]) for _, letters in songs])
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    return trained


@pytest.fixture(scope="module")
def utterances(tmp_path_factory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("songs")
    draw = np.random.default_rng(1)
    songs = []
    for i in range(80):
        samples, letters = sing(draw)
        path: Path = folder / f"{i:03d}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        songs.append(Utterance(path.stem, str(path), len(samples), " ".join(letters)))
    return songs


class Experiment:
    """The calibration set as the pipeline sees it, for one recogniser."""

    def __init__(self, recogniser: Recogniser, model: torch.nn.Module, utterances: list[Utterance]) -> None:
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
        layers = dict.fromkeys(m.layer for m in self.modules)
        probes = [{"layer": n, "kind": "", **vars(self.measure(n, [ranges])[0])} for n in layers]
        table = select_layers(probes, THRESHOLD)
        return set(table.loc[table["selected"], "layer"])


def planted(model: torch.nn.Module, height: float) -> torch.nn.Module:
    """``model`` whose producer has a dead channel that spikes to ``height`` times the largest other activation.

    It is the channel that fires least often, so that its spikes are rare as outliers are; 0 leaves it as it was.
    """
    draw = np.random.default_rng(2)
    audio = torch.from_numpy(np.stack([sing(draw)[0] for _ in range(20)]))
    hidden = ((audio - audio.mean(1, keepdim=True)) / audio.std(1, keepdim=True))[:, None]
    model = copy.deepcopy(model)
    layers = model.hubert.feature_extractor.conv_layers
    for layer in layers[: PRODUCER + 1]:
        hidden = layer(hidden)
    firing = (hidden > 0).float().mean(dim=(0, 2))
    channel = int(torch.where(firing > 0.01, firing, 1).argmin())
    layers[PRODUCER + 1].conv.weight[:, channel] = 0
    if height:
        layers[PRODUCER].conv.weight[channel] *= height * hidden.max() / hidden[:, channel].max()
    return model


@pytest.fixture(scope="module")
def experiments(recogniser, utterances) -> dict[str, Experiment]:
    spikes = {"plain": 0, "spiked": 200, "spiked more": 400}
    return {n: Experiment(recogniser, planted(recogniser.model, s), utterances) for n, s in spikes.items()}


def test_fp32_recognises_and_does_not_see_the_spike(experiments):
    plain = experiments["plain"].calibration.reference
    assert plain.errors.wer < 5
    for name in ("spiked", "spiked more"):
        spiked = experiments[name].calibration.reference
        assert spiked.errors.wer == plain.errors.wer
        for path, rows in plain.log_posteriors.items():
            assert abs(rows - spiked.log_posteriors[path]).max() < 1e-3
        assert experiments[name].histograms[VICTIM].amax > 50 * experiments["plain"].histograms[VICTIM].amax


def test_the_selection_gains_exactly_the_layer_behind_it_and_the_search_heals_it(experiments):
    plain, spiked = experiments["plain"], experiments["spiked"]
    before, after = plain.selected(), spiked.selected()
    assert VICTIM not in before
    assert after == before | {VICTIM}
    (maximum,) = spiked.measure(VICTIM, [{VICTIM: spiked.histograms[VICTIM].amax}])
    assert maximum.degradation > 10, "MAX calibration did not fail"
    candidates = search(
        {VICTIM: spiked.histograms[VICTIM]},
        GRID,
        lambda ranges: spiked.measure(VICTIM, ranges),
    )
    best = next(c for c in candidates if c.best)
    (unspiked,) = plain.measure(VICTIM, [{VICTIM: plain.histograms[VICTIM].amax}])
    assert best.probe.degradation <= max(unspiked.degradation, 0) + THRESHOLD
