"""A spike planted between two convolutions: the method must find exactly the layer that suffers, and heal it.

A small recogniser with group norm learns to spell tones, which takes seconds. Then a channel between two convolutions
gets outgoing weights of zero, so that its size cannot matter to fp32, and incoming weights enlarged until it dwarfs all
other channels, so that MAX calibration of the next layer has no levels left for them.
"""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from calibrating import Calibrated, calibrate
from checkout import PROJECT
from recognising import Loaded, split_in
from wav2vec2_files import write_tiny_checkpoint

from stablequant.corpora.utterance import Utterance
from stablequant.quantization.histograms import UNCLIPPED
from stablequant.search.probe_layer import probe_layers
from stablequant.search.racing import Racing
from stablequant.search.search_percentile import Candidate, mark_best, search_percentile
from stablequant.search.select_layers import select_layers
from stablequant.search.trials import Outcome
from stablequant.storage.files import checksum

pytestmark = pytest.mark.slow_unit

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
def trained(tmp_path_factory) -> Loaded:
    """Every tone a word of one letter, spelled frame by frame."""
    folder = tmp_path_factory.mktemp("tones")
    write_tiny_checkpoint(folder, conv_dim=(32,) * 7)
    loaded = Loaded.load(folder)
    tokens = loaded.front_end.vocabulary.tokens
    draw = np.random.default_rng(0)
    model = loaded.model.requires_grad_(True)
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
    return loaded


@pytest.fixture(scope="module")
def utterances(tmp_path_factory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("songs")
    draw = np.random.default_rng(1)
    songs = []
    for i in range(80):
        samples, letters = sing(draw)
        path: Path = folder / f"{i:03d}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        songs.append(Utterance(path.stem, str(path), len(samples), " ".join(letters), checksum(path)))
    return songs


def probe(calibrated: Calibrated, layers: list[str]) -> list[Outcome]:
    """Each layer quantized to its largest values."""
    return probe_layers(
        calibrated.recogniser, calibrated.modules, layers, calibrated.largest, calibrated.calibration, THRESHOLD
    )


def selected(calibrated: Calibrated) -> set[str]:
    layers = calibrated.recogniser.layers
    rows = [{"layer": n, "kind": "", **vars(o)} for n, o in zip(layers, probe(calibrated, layers), strict=True)]
    table = select_layers(rows, THRESHOLD)
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
def experiments(trained, utterances, tmp_path_factory) -> dict[str, Calibrated]:
    spikes = {"plain": 0, "spiked": 200, "spiked more": 400}
    split = split_in(trained, utterances, 1e7)
    models = {name: trained.recogniser(planted(trained.model, height)) for name, height in spikes.items()}
    return {name: calibrate(model, split, tmp_path_factory.mktemp("planted")) for name, model in models.items()}


def test_fp32_recognises_and_does_not_see_the_spike(experiments):
    plain = experiments["plain"].calibration.reference
    assert plain.errors.wer < 5
    for name in ("spiked", "spiked more"):
        spiked = experiments[name].calibration.reference
        assert spiked.errors.wer == plain.errors.wer
        for utterance in experiments[name].calibration.split.utterances:
            rows = plain.posteriors[utterance.path]
            assert abs(rows - spiked.posteriors[utterance.path]).max() < 1e-3
        assert experiments[name].histograms[VICTIM].amax > 50 * experiments["plain"].histograms[VICTIM].amax


def test_the_selection_gains_exactly_the_layer_behind_it_and_the_search_heals_it(experiments):
    plain, spiked = experiments["plain"], experiments["spiked"]
    before, after = selected(plain), selected(spiked)
    assert VICTIM not in before
    assert after == before | {VICTIM}
    (maximum,) = probe(spiked, [VICTIM])
    assert maximum.degradation > 10, "MAX calibration did not fail"
    candidates = search_percentile(spiked.recogniser, spiked.of(VICTIM), spiked.histograms, GRID, spiked.calibration)
    best = next(c for c in mark_best(candidates) if c.best)
    (unspiked,) = probe(plain, [VICTIM])
    assert best.outcome.degradation <= max(unspiked.degradation, 0) + THRESHOLD


def test_racing_finds_the_same_and_hears_less(experiments):
    spiked, racing = experiments["spiked"], Racing(confidence=0.95, seed=0)
    shared = (spiked.recogniser, spiked.modules, [VICTIM], spiked.largest, spiked.calibration, THRESHOLD)
    (raced,) = probe_layers(*shared, racing)
    assert raced.degradation > THRESHOLD
    assert raced.above is True
    assert None in raced.errors
    shared = (spiked.recogniser, spiked.of(VICTIM), spiked.histograms, GRID, spiked.calibration)
    candidates = search_percentile(*shared, racing)
    heard = sum(error is not None for candidate in candidates for error in candidate.outcome.errors)
    assert heard < 0.8 * len(GRID) * len(raced.errors)
    words = {c.percentile: sum(c.outcome.errors) for c in search_percentile(*shared)}
    best = next(c for c in mark_best(candidates) if c.best)
    assert words[best.percentile] <= min(words.values()) + 1  # of 400


def test_racing_takes_no_cut_off_before_it_is_known_to_beat_what_was_measured_before(experiments):
    spiked, racing = experiments["spiked"], Racing(confidence=0.95, seed=0)
    shared, clipping = (spiked.recogniser, spiked.of(VICTIM), spiked.histograms), GRID[-1]
    spoilt, healed = search_percentile(*shared, [UNCLIPPED, clipping], spiked.calibration)
    assert sum(spoilt.outcome.errors) > sum(healed.outcome.errors) + 10

    def raced(percentile: float, known: Candidate) -> Candidate:
        return search_percentile(*shared, [percentile], spiked.calibration, racing, [known])[0]

    loser = raced(UNCLIPPED, healed)
    assert loser.stopped and None in loser.outcome.errors
    assert [c.percentile for c in mark_best([healed, loser]) if c.best] == [clipping]
    winner = raced(clipping, spoilt)
    assert not winner.stopped and None in winner.outcome.errors
    assert [c.percentile for c in mark_best([spoilt, winner]) if c.best] == [clipping]
    equal = raced(clipping, replace(healed, percentile=UNCLIPPED))
    assert not equal.stopped and None not in equal.outcome.errors, "decided though nothing told them apart"
