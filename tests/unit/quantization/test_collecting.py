"""Histograms gathered in pieces are those of all values at once."""

import numpy as np
import pytest
import torch

from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import BINS, HistogramCollector, collecting
from stablequant.quantization.histograms import load_histograms, save_histograms
from stablequant.quantization.ranges import full_range


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


def test_counts_beyond_float32():
    """One bin with more than 2^24 values, where a float32 count would stand still."""
    collector = HistogramCollector()
    collector.collect(torch.ones(2**24 + 3))
    collector.collect(torch.ones(5))
    assert collector.histogram().counts.sum() == 2**24 + 8


@pytest.mark.parametrize("signed", [False, True])
def test_dead_then_alive(signed):
    collector = HistogramCollector(signed)
    collector.collect(torch.zeros(10))
    assert collector.histogram().counts.tolist() == [10]
    collector.collect(torch.tensor([0.5]))
    histogram = collector.histogram()
    assert histogram.counts.sum() == 11
    assert histogram.counts[0] == 10


def test_activations_are_counted_as_they_will_be_quantized(tiny):
    """Divided by their channels' scales, and with their signs except where zeros are padded."""
    audio = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    convolution = tiny.model.get_submodule("hubert.feature_extractor.conv_layers.1.conv")
    seen = []
    handle = convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    scales = np.linspace(0.5, 2, 16, dtype=np.float32)
    with collecting(tiny.model, tiny.modules, {"cnn02": scales}, recentre=True) as collectors, torch.inference_mode():
        tiny.model(audio)
    handle.remove()
    expected = seen[0] / scales[:, None]
    histogram = collectors["cnn02"].histogram()
    assert full_range(histogram).low == pytest.approx(expected.min(), abs=histogram.width)
    assert full_range(histogram).high == pytest.approx(expected.max(), rel=1e-6)
    assert {name for name, c in collectors.items() if not c.signed} == {"positional"}


def test_not_finite_is_refused():
    with pytest.raises(StableQuantError, match="not finite"):
        HistogramCollector().collect(torch.tensor([1.0, float("nan")]))


@pytest.mark.parametrize("extended", [False, True])
def test_every_module_is_heard_once_and_files_give_back_what_was_saved(tiny, tmp_path, extended):
    audio = torch.randn(2, 8000)
    with (
        collecting(tiny.model, tiny.modules, recentre=extended, split_audio=extended) as collectors,
        torch.inference_mode(),
    ):
        tiny.model(audio)
    assert {name for name, c in collectors.items() if c.split} == ({"cnn01"} if extended else set())
    assert set(collectors) == {m.activation for m in tiny.modules}
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel()
    assert collectors["cnn01"].amax == audio.abs().max().item()
    histograms = collectors.histograms()
    save_histograms(tmp_path / "histograms.safetensors", histograms)
    loaded = load_histograms(tmp_path / "histograms.safetensors")
    assert loaded.keys() == histograms.keys()
    for name, histogram in histograms.items():
        assert np.array_equal(loaded[name].counts, histogram.counts)
        assert vars(loaded[name]) | {"counts": None} == vars(histogram) | {"counts": None}
    with torch.inference_mode():
        tiny.model(audio)
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel(), "hooks outlived the block"
