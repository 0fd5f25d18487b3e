"""Histograms gathered in pieces are those of all values at once."""

import numpy as np
import pytest
import torch
from distributions import noise
from fake_recogniser import MODULES, FakeRecogniser, by_hand, songs, split_of

from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import (
    Collectors,
    HistogramCollector,
    Preparation,
    collecting,
    unpadded,
)
from stablequant.quantization.histograms import TINIEST, Histogram, mirrored
from stablequant.quantization.ranges import full_range
from stablequant.search.split import loaded


def counted(batches: list[np.ndarray], signed: bool) -> Histogram:
    collector = HistogramCollector(signed)
    for batch in batches:
        collector.collect(torch.from_numpy(batch))
    return collector.histogram()


def of_all_sizes() -> np.ndarray:
    """Values of all orders of magnitude, and each power of two from the smallest float32 to the largest."""
    values = noise(20_000) * 10.0 ** np.linspace(-40, 37, 20_000)
    powers = 2.0 ** np.arange(-149, 128)
    return np.concatenate([values, powers, -powers, np.zeros(5), [-0.0, 0.0, 1e6]]).astype(np.float32)


@pytest.mark.parametrize("signed", [False, True])
def test_every_value_lies_in_its_bin(signed):
    """NumPy counts the same. Its bins begin at their lower edge, ours end at their upper edge, so all are negated."""
    values = of_all_sizes()
    histogram = counted([values], signed)
    expected = values.astype(np.float64) if signed else np.abs(values.astype(np.float64))
    above, below = expected[expected > 0], -expected[expected < 0]
    for found, part in ((histogram, above), (mirrored(histogram), below)):
        kept = found.edges[:-1] >= (TINIEST if found is histogram else 0)
        edges = np.concatenate([found.edges[:-1][kept], found.edges[-1:]])
        if len(part):
            assert found.counts[kept].tolist() == np.histogram(-part, -edges[::-1])[0][::-1].tolist()
    assert histogram.zeros == np.count_nonzero(values == 0) == 7
    assert histogram.total == len(values)
    assert histogram.high == np.abs(values).max() == 2.0**127
    assert histogram.low == (-(2.0**127) if signed else 0)


@pytest.mark.parametrize("signed", [False, True])
def test_bins_are_narrow_beside_their_values(signed):
    """Whatever else was counted; so a value that is far too large costs the others nothing."""
    values = noise(50_000).astype(np.float32)
    plain, spiked = counted([values], signed), counted([np.float32([1e9]), values], signed)
    for histogram in (plain, spiked):
        occupied = histogram.counts > 0
        low, high = histogram.edges[:-1][occupied], histogram.edges[1:][occupied]
        assert (high - low <= 2.0**-8 * np.maximum(np.abs(low), np.abs(high))).all()
    assert spiked.counts[: len(plain.counts) - 1].tolist() == plain.counts[:-1].tolist()


@pytest.mark.parametrize("signed", [False, True])
def test_histograms_are_merged_exactly_in_any_order(signed):
    """Batches of other sizes, and in another order, give the same numbers."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(scale=scale, size=5000).astype(np.float32) for scale in (1, 3, 0.1, 50, 1e6)]
    everything = np.concatenate(batches)
    expected = counted([everything], signed)
    for parts in (batches, batches[::-1], np.array_split(rng.permutation(everything), 11)):
        found = counted(parts, signed)
        assert found.counts.tolist() == expected.counts.tolist()
        assert found.edges.tolist() == expected.edges.tolist()


@pytest.mark.parametrize("signed", [False, True])
def test_bins_by_hand(signed):
    """A power of two ends the bin below it. The outermost edges are the outermost values; empty bins are joined."""
    collector = HistogramCollector(signed)
    for value in (-1.0, 2.5, 0.5, 0.0):
        collector.collect(torch.full((2, 3), value))
    histogram = collector.histogram()
    step = 2.0**-9
    zeros, halves, twos = [0, TINIEST], [0.5 * (1 - step), 0.5], [2.5 - 2 * 2**-8, 2.5]
    ones = [-1, -1 + step] if signed else [1 - step, 1]
    assert histogram.edges.tolist() == sorted([*ones, *zeros, *halves, *twos])
    assert histogram.counts.tolist() == ([6, 0] if signed else []) + [6, 0, 6, 0] + ([] if signed else [6, 0]) + [6]
    assert (histogram.amax, histogram.low, histogram.zeros) == (2.5, -1 if signed else 0, 6)
    assert histogram.counts.dtype == np.int64


def test_an_end_that_0_does_not_lie_before_is_that_of_its_bin():
    bins = counted([np.float32([3.0, 5.0])], True), counted([np.float32([-3.0, -5.0])], True)
    assert (bins[0].low, bins[0].high) == (3 - 2 * 2**-8, 5)
    assert (bins[1].low, bins[1].high) == (-5, 0)
    assert bins[1].edges[-1] == -3 + 2 * 2**-8


def test_more_than_a_float32_can_count():
    """A float32 count stands still at 2^24."""
    collector = HistogramCollector()
    collector.collect(torch.ones(1).expand(2**24 + 3))
    collector.collect(torch.ones(5))
    assert collector.histogram().counts.tolist() == [2**24 + 8]


@pytest.mark.parametrize("signed", [False, True])
def test_dead_then_alive(signed):
    collector = HistogramCollector(signed)
    collector.collect(torch.zeros(10))
    dead = collector.histogram()
    assert (dead.counts.tolist(), dead.edges.tolist()) == ([10], [0, TINIEST])
    assert (dead.amax, dead.signed, dead.split) == (0, signed, False)
    collector.collect(torch.tensor([0.5]))
    assert collector.histogram().counts.tolist() == [10, 0, 1]


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
    for chosen in (
        *(Preparation({"deep": np.ones(6)}), Preparation(recentre=True), Preparation(split_audio=True)),
        Preparation(carried={"deep": (1,)}),
    ):
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
            assert full_range(histogram).low == pytest.approx(values.min(), rel=2**-8), name
    assert collected(recogniser, Preparation(recentre=True))["front"].signed
    assert not collected(recogniser, Preparation(split_audio=True))["head"].signed


@pytest.mark.parametrize("budget", [1, 1200], ids=["each utterance alone", "padded batches"])
def test_of_carried_channels_only_the_largest_magnitude_is_kept(budget):
    """Of products and of a convolution that pads, without padding."""
    recogniser = FakeRecogniser(songs())
    scales, carried = {"deep": np.linspace(0.5, 2, 6, dtype=np.float32)}, {"deep": (0, 3), "near": (5,)}
    collectors = collected(recogniser, Preparation(scales, carried=carried), budget)
    expected = read_by_hand(recogniser)
    for name, histogram in collectors.histograms().items():
        values = np.abs(expected[name]) / scales.get(name, np.ones(1))[:, None]
        channels = list(carried.get(name, ()))
        rest = np.delete(values, channels, axis=0)
        assert histogram.total == rest.size, name
        assert histogram.amax == pytest.approx(rest.max(), rel=1e-5), name
        assert (histogram.carried is None) == (not channels), name
        if channels:
            assert histogram.carried.channels == tuple(channels)
            assert histogram.carried.amax == pytest.approx(values[channels].max(), rel=1e-5), name


def test_carried_channels_that_are_not_finite_are_refused():
    collector = HistogramCollector(carried=(1,))
    with pytest.raises(StableQuantError, match="they contain NaN or infinity"):
        collector.collect_channels(torch.tensor([[1.0, float("nan")]]), -1)


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
