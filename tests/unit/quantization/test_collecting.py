"""Histograms gathered in pieces are those of all values at once."""

import numpy as np
import pytest
import torch
from fake_recogniser import MODULES, FakeRecogniser, by_hand, songs, split_of

from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import (
    BINS,
    Collectors,
    HistogramCollector,
    Preparation,
    collecting,
    unpadded,
)
from stablequant.quantization.ranges import full_range
from stablequant.search.split import loaded


@pytest.mark.parametrize("signed", [False, True])
def test_growing_range_merges_bins_exactly(signed):
    rng = np.random.default_rng(0)
    batches = [rng.normal(scale=scale, size=5000).astype(np.float32) for scale in (1, 3, 0.1, 50, 1e6)]
    collector = HistogramCollector(signed)
    for batch in batches:
        collector.collect(torch.from_numpy(batch))
    histogram = collector.histogram()
    values = np.concatenate(batches)
    assert histogram.amax == np.abs(values).max()
    assert len(histogram.counts) > BINS // 2
    counted = values if signed else np.abs(values)
    expected, _ = np.histogram(counted.astype(np.float64), bins=histogram.edges)
    assert histogram.counts.sum() == len(values)
    assert np.abs(histogram.counts - expected).sum() <= 4  # float32 may round a value on an edge to its neighbour


@pytest.mark.parametrize("signed", [False, True])
def test_bins_by_hand(signed):
    """The first value sets the range, the second doubles it twice; the third is a bin's lower edge."""
    collector = HistogramCollector(signed)
    for value in (-1.0, 2.5, 0.5, 0.0):
        collector.collect(torch.full((2, 3), value))
    histogram = collector.histogram()
    assert histogram.width == 4 / BINS
    assert histogram.amax == 2.5
    places = {int(place) + histogram.start for place in np.flatnonzero(histogram.counts)}
    ones = -BINS // 4 if signed else BINS // 4 - 1  # -1 opens the bins below 0, 1 was the last bin's upper edge
    assert places == {ones, 0, BINS // 8, BINS * 5 // 8}
    assert set(histogram.counts.tolist()) == {0, 6}
    assert len(histogram.counts) == BINS * 5 // 8 + 1 - (ones if signed else 0), "empty bins outside"


def test_counts_beyond_float32(monkeypatch):
    """A float32 count stands still at 2^24, so no more than that are counted at once."""
    sizes = []
    histc = torch.histc

    def counting(values: torch.Tensor, *arguments) -> torch.Tensor:
        sizes.append(values.numel())
        return histc(values, *arguments)

    monkeypatch.setattr(torch, "histc", counting)
    collector = HistogramCollector()
    collector.collect(torch.ones(1).expand(2**24 + 3))
    collector.collect(torch.ones(5))
    assert collector.histogram().counts.sum() == 2**24 + 8
    assert max(sizes) == 2**24


@pytest.mark.parametrize("signed", [False, True])
def test_dead_then_alive(signed):
    collector = HistogramCollector(signed)
    collector.collect(torch.zeros(10))
    dead = collector.histogram()
    assert dead.counts.tolist() == [10]
    assert (dead.width, dead.amax, dead.first, dead.split) == (0, 0, 0 if signed else None, False)
    collector.collect(torch.tensor([0.5]))
    histogram = collector.histogram()
    assert histogram.counts.sum() == 11
    assert histogram.counts[0] == 10


@pytest.mark.parametrize("signed", [False, True])
def test_a_split_activation_is_marked(signed):
    collector = HistogramCollector(signed, split=True)
    collector.collect(torch.zeros(2))
    assert collector.histogram().split
    collector.collect(torch.ones(2))
    assert collector.histogram().split


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(value):
    with pytest.raises(StableQuantError) as error:
        HistogramCollector().collect(torch.tensor([1.0, value]))
    assert str(error.value) == (
        "the recogniser's activations: they contain NaN or infinity; check its weights, or take precision: float32"
    )


def test_what_changes_nothing_is_no_preparation():
    assert not Preparation().changes_anything
    for chosen in (Preparation({"deep": np.ones(6)}), Preparation(recentre=True), Preparation(split_audio=True)):
        assert chosen.changes_anything


def collected(recogniser: FakeRecogniser, preparation: Preparation | None, budget: float = 1200) -> Collectors:
    """Of all audio of the recogniser."""
    with collecting(recogniser.model, MODULES, preparation) as collectors:
        for _, context, state in loaded(recogniser, split_of_plain(recogniser, budget), "test"):
            collectors.context = context
            recogniser.recognise(state, 0, context)
    return collectors


def split_of_plain(recogniser: FakeRecogniser, budget: float) -> list:
    return split_of(FakeRecogniser(recogniser.audio), budget).batches


def read_by_hand(recogniser: FakeRecogniser) -> dict[str, np.ndarray]:
    """What every activation is in all utterances, ``(channels, frames)``, utterance by utterance in NumPy."""
    parts: dict[str, list[np.ndarray]] = {}
    for samples in recogniser.audio.values():
        read: dict[str, np.ndarray] = {}
        by_hand(samples, read=read)
        for name, values in read.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values, axis=1) for name, values in parts.items()}


@pytest.mark.parametrize("budget", [1, 1200], ids=["each utterance alone", "padded batches"])
def test_every_activation_is_counted_once_without_padding(budget):
    recogniser = FakeRecogniser(songs())
    collectors = collected(recogniser, None, budget)
    expected = read_by_hand(recogniser)
    assert set(collectors) == set(expected) == {m.activation for m in MODULES}
    for name, histogram in collectors.histograms().items():
        values = np.abs(expected[name])
        assert histogram.counts.sum() == values.size, name
        assert histogram.amax == pytest.approx(values.max(), rel=1e-5), name
        counted, _ = np.histogram(values, bins=histogram.edges)
        assert np.abs(counted - histogram.counts).sum() <= 0.01 * values.size, name
        assert not histogram.signed and not histogram.split, name


def test_activations_are_counted_as_they_will_be_quantized():
    """Divided by their channels' scales, and with their signs except where zeros are padded; the audio is split."""
    recogniser = FakeRecogniser(songs())
    scales = {
        "near": np.linspace(0.5, 2, 6, dtype=np.float32),
        "head": np.linspace(3, 0.1, 6, dtype=np.float32),
    }
    collectors = collected(recogniser, Preparation(scales, recentre=True, split_audio=True))
    expected = read_by_hand(recogniser)
    for name, histogram in collectors.histograms().items():
        values = expected[name] / scales.get(name, np.ones(1))[:, None]
        assert histogram.signed == (name not in ("near", "front")), name
        assert histogram.split == (name == "front"), name
        assert histogram.amax == pytest.approx(np.abs(values).max(), rel=1e-5), name
        counted, _ = np.histogram(values if histogram.signed else np.abs(values), bins=histogram.edges)
        assert np.abs(counted - histogram.counts).sum() <= 0.02 * values.size, name
        if histogram.signed:
            assert full_range(histogram).low == pytest.approx(values.min(), abs=1.01 * histogram.width), name
    assert collected(recogniser, Preparation(recentre=True))["front"].signed
    assert not collected(recogniser, Preparation(split_audio=True))["head"].signed


def test_nothing_is_counted_outside_the_block():
    recogniser = FakeRecogniser(songs(1))
    (samples,) = recogniser.audio.values()
    context, state = recogniser.context([len(samples)]), {"hidden": torch.from_numpy(samples[None])}

    def interrupted() -> Collectors:
        with pytest.raises(KeyboardInterrupt), collecting(recogniser.model, MODULES) as collectors:
            recogniser.recognise(state, 0, context)
            raise KeyboardInterrupt
        return collectors

    collectors = interrupted()
    before = {name: collector.counts.sum() for name, collector in collectors.items()}
    recogniser.recognise(state, 0, context)
    assert before["front"] == len(samples)
    assert {name: collector.counts.sum() for name, collector in collectors.items()} == before


def test_padding_is_left_out_row_by_row():
    recogniser = FakeRecogniser()
    by_name = {m.module: m for m in MODULES}
    frames = torch.arange(24.0).reshape(2, 4, 3)  # two utterances, four frames of which the second has two
    linear = unpadded(frames, by_name["deep"], recogniser.model.deep, recogniser.context([8, 4]))
    assert [part.tolist() for part in linear] == [frames[0].tolist(), frames[1, :2].tolist()]
    convolution = unpadded(frames.mT, by_name["near"], recogniser.model.near, recogniser.context([8, 4]))
    assert [part.tolist() for part in convolution] == [frames[0].T.tolist(), frames[1, :2].T.tolist()]
    for context in (None, recogniser.context([8, 8])):
        (same,) = unpadded(frames, by_name["deep"], recogniser.model.deep, context)
        assert same is frames
