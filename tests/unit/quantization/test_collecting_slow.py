"""Histograms of a real recogniser's activations."""

import numpy as np
import pytest
import torch

from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.histograms import load_histograms, save_histograms
from stablequant.quantization.ranges import full_range

pytestmark = pytest.mark.slow_unit


def test_activations_are_counted_as_they_will_be_quantized(tiny):
    """Divided by their channels' scales, and with their signs except where zeros are padded."""
    audio = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    convolution = tiny.model.get_submodule("hubert.feature_extractor.conv_layers.1.conv")
    seen = []
    handle = convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    scales = np.linspace(0.5, 2, 16, dtype=np.float32)
    preparation = Preparation({"cnn02": scales}, recentre=True)
    with collecting(tiny.model, tiny.modules, preparation) as collectors, torch.inference_mode():
        tiny.model(audio)
    handle.remove()
    expected = seen[0] / scales[:, None]
    histogram = collectors["cnn02"].histogram()
    assert full_range(histogram).low == pytest.approx(expected.min(), rel=2**-8)
    assert full_range(histogram).high == pytest.approx(expected.max(), rel=1e-6)
    assert {name for name, c in collectors.items() if not c.signed} == {"positional"}


@pytest.mark.parametrize("extended", [False, True])
def test_every_module_is_counted_once_and_files_give_back_what_was_saved(tiny, tmp_path, extended):
    audio = torch.randn(2, 8000)
    preparation = Preparation(recentre=extended, split_audio=extended)
    with collecting(tiny.model, tiny.modules, preparation) as collectors, torch.inference_mode():
        tiny.model(audio)
    assert {name for name, c in collectors.items() if c.split} == ({"cnn01"} if extended else set())
    assert set(collectors) == {m.activation for m in tiny.modules}
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel()
    assert collectors["cnn01"].histogram().amax == audio.abs().max().item()
    histograms = collectors.histograms()
    save_histograms(tmp_path / "histograms.safetensors", histograms)
    loaded = load_histograms(tmp_path / "histograms.safetensors")
    assert loaded.keys() == histograms.keys()
    for name, histogram in histograms.items():
        assert np.array_equal(loaded[name].counts, histogram.counts)
        assert np.array_equal(loaded[name].edges, histogram.edges)
        assert (loaded[name].signed, loaded[name].split) == (histogram.signed, histogram.split)
    with torch.inference_mode():
        tiny.model(audio)
    assert collectors["cnn01"].histogram().counts.sum() == audio.numel(), "hooks outlived the block"
