"""What each layer computes, and how large what enters it is, worked by hand."""

import pytest
import torch

from stablequant.search.costs import layer_costs, passes


def test_costs_are_those_of_the_layers_weights(tiny):
    """Weights times outputs per second of audio; 3199 frames leave the first convolution."""
    recogniser = tiny.recogniser()
    costs = layer_costs(recogniser)
    assert costs["cnn01"].macs == pytest.approx(16 * 10 * 3199 / 16_000)
    assert costs["cnn02"].bytes == pytest.approx(16 * 3199 * 4 / 16_000)
    assert costs["transformer01"].macs == pytest.approx((4 * 48 * 48 + 2 * 48 * 96) * 49 / 16_000)
    assert costs["head"].macs == pytest.approx(48 * 32 * 49 / 16_000)
    assert not recogniser.samples, "measuring counts as work"
    silence = recogniser.enter({"hidden": torch.zeros(1, 8_000)})
    recogniser.logits(silence, 0, recogniser.context([8_000]))
    assert passes(recogniser.samples, costs, 8_000) == pytest.approx(1)
    layer_costs(recogniser)
    assert passes(recogniser.samples, costs, 8_000) == pytest.approx(1), "measuring takes off what was counted"
    recogniser.run(silence, 0, 2, recogniser.context([8_000]))
    first = (costs["cnn01"].macs + costs["cnn02"].macs) / sum(c.macs for c in costs.values())
    assert passes(recogniser.samples, costs, 8_000) == pytest.approx(1 + first)
