"""The benchmark's hard variants compute what the recogniser does, and their activations reach far further."""

import sys

import pytest
import torch
from checkout import PROJECT
from wav2vec2_files import tiny_model

from stablequant.quantization.collecting import collecting
from stablequant.recognisers.wav2vec2.layers import quantized_modules

sys.path.insert(0, str(PROJECT / "benchmarks"))
from variants import VARIANTS

READS = {"demo-dead-channels": "fc2", "demo-massive-attention": "out"}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_variant_spikes_and_changes_nothing(variant, pre_norm, tmp_path):
    model = tiny_model(do_stable_layer_norm=pre_norm, feat_extract_norm="layer" if pre_norm else "group")
    VARIANTS[variant](model).save_pretrained(tmp_path)
    changed = type(model).from_pretrained(tmp_path).eval()
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    reached = []
    with torch.inference_mode():
        for each in (model, changed):
            with collecting(each, quantized_modules(each.config.to_dict())) as collectors:
                logits = each(audio).logits
            reached.append((logits, {name: h.amax for name, h in collectors.histograms().items()}))
    (expected, before), (found, after) = reached
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    part = "qkv" if variant == "demo-massive-attention" and pre_norm else READS[variant]
    assert all(after[f"transformer0{i}.{part}"] > 30 * before[f"transformer0{i}.{part}"] for i in (1, 2))
