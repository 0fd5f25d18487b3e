"""Lengths of utterances at every layer, against what enters the modules of transformers' own models."""

import numpy as np
import pytest
import torch
from wav2vec2_files import ARCHITECTURES, tiny_model

from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.wav2vec2 import wavlm
from stablequant.recognisers.wav2vec2.frames import Frames
from stablequant.recognisers.wav2vec2.layers import quantized_modules

SAMPLES = [16_000, 12_345, 9_000]


def shapes_entering(model: torch.nn.Module, audio: torch.Tensor) -> dict[QuantizedModule, tuple[int, ...]]:
    """Shape of what enters each module, its time axis last but one."""
    wavlm.attend_by_modules(model)  # transformers multiplies by the weights without calling the modules
    shapes = {}
    for module in quantized_modules(model.config.to_dict()):
        operation = model.get_submodule(module.module)
        turned = isinstance(operation, torch.nn.Conv1d)

        def hook(_operation, inputs, module=module, turned=turned) -> None:
            shapes[module] = tuple(inputs[0].mT.shape if turned else inputs[0].shape)

        operation.register_forward_pre_hook(hook)
    with torch.inference_mode():
        model(audio)
    return shapes


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_are_those_of_what_enters_each_module(architecture, rows):
    model = tiny_model(architecture)
    for samples in (400, 719, *SAMPLES):
        context = Frames(model.config.to_dict(), [samples] * rows)
        shapes = shapes_entering(model, torch.randn(rows, samples))
        assert len(shapes) == len(quantized_modules(model.config.to_dict()))
        for module, shape in shapes.items():
            assert context.lengths(module) == [shape[1]] * shape[0], module.module
        assert not context.padded
        assert context.samples == rows * samples


def test_distances_of_a_conformer_enter_once_for_all_utterances():
    """From one end of the frames to the other and back, of the longest utterance: 2 * 49 - 1 rows."""
    model = tiny_model("conformer-relative")
    [module, *_] = (m for m in quantized_modules(model.config.to_dict()) if m.activation.endswith(".pos"))
    assert module.module.endswith("self_attn.linear_pos")
    assert shapes_entering(model, torch.randn(3, 16_000))[module] == (1, 97, 48)
    assert Frames(model.config.to_dict(), SAMPLES).lengths(module) == [97]
    [query, *_] = (m for m in quantized_modules(model.config.to_dict()) if m.module.endswith("linear_q"))
    assert Frames(model.config.to_dict(), SAMPLES).lengths(query) == [49, 38, 27]


def test_padding_is_told_from_audio():
    """Frames of each utterance by transformers' own formula."""
    model = tiny_model()
    context = Frames(model.config.to_dict(), SAMPLES)
    counts = model._get_feat_extract_output_lengths(torch.tensor(SAMPLES)).tolist()
    assert context.padded
    assert context.samples == 3 * 16_000
    assert context.counts == counts == [49, 38, 27]
    hidden = torch.randn(3, 49, 5)
    mask = context.mask(hidden)
    assert mask.shape == (3, 49)
    for row, values, count in zip(mask, context.rows(hidden), counts, strict=True):
        assert row.tolist() == [True] * count + [False] * (49 - count)
        assert values.shape == (count, 5)
    assert np.array_equal(context.rows(hidden)[1], hidden[1, :38].numpy())
    assert Frames(model.config.to_dict(), [16_000] * 2).mask(hidden[:2]) is None


def test_what_all_layers_share_is_computed_once():
    context = Frames(tiny_model().config.to_dict(), SAMPLES)
    computed = []
    for _ in range(3):
        assert context.shared("mask", lambda: computed.append(1) or "value") == "value"
    assert context.shared("nothing", lambda: computed.append(2)) is None
    assert context.shared("nothing", lambda: computed.append(2)) is None
    assert computed == [1, 2]
