"""Histograms gathered in pieces are those of all values at once."""

import numpy as np
import pytest
import torch

from stablequant.collection import BINS, HistogramCollector, collecting
from stablequant.histograms import load_histograms, save_histograms


def test_growing_range_merges_bins_exactly():
    rng = np.random.default_rng(0)
    batches = [rng.normal(scale=scale, size=5000).astype(np.float32) for scale in (1, 3, 0.1, 50, 1e6)]
    collector = HistogramCollector()
    for batch in batches:
        collector.collect(torch.from_numpy(batch))
    histogram = collector.histogram()
    magnitudes = np.abs(np.concatenate(batches))
    assert histogram.amax == magnitudes.max()
    assert len(histogram.counts) > BINS // 2
    expected, _ = np.histogram(magnitudes.astype(np.float64), bins=histogram.edges)
    assert histogram.counts.sum() == len(magnitudes)
    assert np.abs(histogram.counts - expected).sum() <= 4  # float32 may round a value on an edge to its neighbour


def test_counts_beyond_float32():
    """One bin with more than 2^24 values, where a float32 count would stand still."""
    collector = HistogramCollector()
    collector.collect(torch.ones(2**24 + 3))
    collector.collect(torch.ones(5))
    assert collector.histogram().counts.sum() == 2**24 + 8


def test_dead_then_alive():
    collector = HistogramCollector()
    collector.collect(torch.zeros(10))
    collector.collect(torch.tensor([0.5]))
    histogram = collector.histogram()
    assert histogram.counts.sum() == 11
    assert histogram.counts[0] == 10


def test_not_finite_is_refused():
    with pytest.raises(FloatingPointError):
        HistogramCollector().collect(torch.tensor([1.0, float("nan")]))


def test_every_module_is_heard_once_and_files_give_back_what_was_saved(tiny, tmp_path):
    audio = torch.randn(2, 8000)
    with collecting(tiny.model, tiny.modules) as collectors, torch.inference_mode():
        tiny.model(audio)
    assert set(collectors) == {m.activation for m in tiny.modules}
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel()
    assert collectors["cnn01"].amax == audio.abs().max().item()
    histograms = {name: c.histogram() for name, c in collectors.items()}
    save_histograms(tmp_path / "histograms.safetensors", histograms)
    loaded = load_histograms(tmp_path / "histograms.safetensors")
    assert loaded.keys() == histograms.keys()
    for name, histogram in histograms.items():
        assert np.array_equal(loaded[name].counts, histogram.counts)
        assert (loaded[name].width, loaded[name].amax) == (histogram.width, histogram.amax)
    with torch.inference_mode():
        tiny.model(audio)
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel(), "hooks outlived the block"
