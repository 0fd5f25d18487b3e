"""Of each module only one weight is in memory, in floating point or fake-quantized."""

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from stablequant.quantization.simulation import fake_quantized_weights
from stablequant.recognisers.modules import QuantizedModule
from stablequant.search.swapped_weights import SwappedWeights

NAMES = ["a", "b", "c", "d"]
MODULES = [QuantizedModule(layer=name, kind="cnn", module=name, activation=name) for name in NAMES]


class Weights:
    """What the calibration makes of weights: no channel scales, rounded to the nearest level."""

    def weights(self, model: nn.Module, modules: list[QuantizedModule]) -> dict[str, torch.Tensor]:
        return fake_quantized_weights(model, modules, {})


def model_of(size: int) -> nn.Module:
    model = nn.Module()
    for name in NAMES:
        model.add_module(name, nn.Linear(size, size, bias=False).requires_grad_(False))
    return model


def test_a_weight_is_the_one_that_was_asked_for_last(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = model_of(8)
    exact = {name: model.get_submodule(name).weight.clone() for name in NAMES}
    quantized = fake_quantized_weights(model, MODULES, {})
    swapped = SwappedWeights(model, MODULES, Weights())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), swapped.swapping():
            for wanted in (NAMES, ["b"], ["a", "b"], [], ["d"]):
                swapped.quantize(wanted)
                assert len(list(tmp_path.glob("*/*"))) == len(NAMES), "the fp32 weights, once each"
                found = swapped.in_memory(MODULES)
                for name in NAMES:
                    assert torch.equal(found[name], (quantized if name in wanted else exact)[name]), (name, wanted)
            raise KeyboardInterrupt
        assert all(torch.equal(model.get_submodule(name).weight, exact[name]) for name in NAMES)
        assert not list(tmp_path.iterdir())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_memory_of_one_copy_is_enough():
    size = 2048
    model = model_of(size)
    swapped = SwappedWeights(model, MODULES, Weights())
    copy = len(NAMES) * size * size * 4
    before = resident()
    with swapped.swapping():
        swapped.quantize(NAMES)
        assert resident() - before < 0.8 * copy
        assert next(swapped._folder.iterdir()).stat().st_size > copy / len(NAMES)
    assert resident() - before < 0.8 * copy
