"""Weights of real recognisers, rounded so that what they compute over calibration audio changes least."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from recognising import Loaded, batches_of, split_in
from wav2vec2_files import write_tiny_checkpoint

from stablequant.quantization.equalised import reciprocal, weight_of
from stablequant.quantization.gptq import Moments
from stablequant.quantization.int8 import dequantized, quantize_weight
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import Operation, channel_axis, operation_of
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.module_inputs import measure_inputs
from stablequant.search.round_weights import round_weights

pytestmark = pytest.mark.slow_unit


def test_padding_stays_out_of_the_moments(demo_utterances, tmp_path):
    write_tiny_checkpoint(tmp_path / "source", "wav2vec2")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    recogniser = Loaded.load(tmp_path / "checkpoint").recogniser()
    few = demo_utterances[:4]
    found = []
    for batches in ([few], [[utterance] for utterance in few]):
        moments = Moments({m.activation: operation_of(recogniser.model, m) for m in recogniser.modules})
        measure_inputs(recogniser, batches, moments, "moments")
        found.append(moments.blocks)
    together, alone = found
    for name, blocks in alone.items():
        for block, other in zip(blocks, together[name], strict=True):
            assert torch.allclose(block, other, rtol=1e-3, atol=1e-3 * float(block.abs().max())), name


class Outputs:
    """Squared error of what operations compute with INT8 weights, rounded as they were and to the nearest level."""

    def __init__(self, model: torch.nn.Module, modules: Sequence[QuantizedModule], channel_scales: dict, rounded: dict):
        self.lost: dict[str, np.ndarray] = {}
        self._model, self._modules, self._scales, self._rounded = model, modules, channel_scales, rounded

    def add(self, activation: str, values: torch.Tensor) -> None:
        for module in (m for m in self._modules if m.activation == activation):
            operation: Operation = operation_of(self._model, module)
            scales = self._scales.get(activation)
            factor = reciprocal(operation, scales)
            read = values[None] if channel_axis(operation) == 0 else values.T[None]
            expected = operation.forward(read)  # which calls no hook, and so not this one
            exact, nearest = operation.weight.data, quantize_weight(weight_of(operation, scales))
            read = read if factor is None else read * factor
            lost = []
            for weight in (self._rounded[module.module], nearest):
                operation.weight.data = torch.from_numpy(dequantized(*weight))
                lost.append(float(((operation.forward(read) - expected) ** 2).sum()))
            operation.weight.data = exact
            self.lost[module.module] = self.lost.get(module.module, 0) + np.array(lost)


def test_every_module_of_a_recogniser_loses_less_on_audio_that_it_was_not_rounded_by(demo, demo_utterances):
    split, others = split_in(demo, demo_utterances[:20], 1e8), batches_of(demo, demo_utterances[20:30])
    recogniser = demo.recogniser()
    with torch.inference_mode():
        scales = equalise_channels(recogniser, split, 0.75, 99.9, 1e9)
        rounded = round_weights(recogniser, split, scales, 1e9)
        outputs = Outputs(demo.model, demo.modules, scales, rounded)
        measure_inputs(recogniser, others, outputs, "outputs")
    assert outputs.lost.keys() == {m.module for m in demo.modules}
    shares = {name: own / nearest for name, (own, nearest) in outputs.lost.items()}
    assert max(shares.values()) < 1, shares
    assert np.median(list(shares.values())) < 0.7, shares
