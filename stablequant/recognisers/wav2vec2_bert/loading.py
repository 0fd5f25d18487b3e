"""Load an imported checkpoint as a torch model for inference."""

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as modeling

from stablequant.recognisers.ctc.loading import load_imported
from stablequant.recognisers.ctc.positions import attend_to_clipped_positions, attend_to_relative_positions
from stablequant.recognisers.operations import CausalConv1d
from stablequant.recognisers.wav2vec2_bert.forward import Wav2Vec2BertRecogniser
from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising


def load(folder: Path, device: str = "cpu", threads: int = 1) -> Wav2Vec2BertRecogniser:
    """Load an imported checkpoint as a recogniser, see `load_model`."""
    return Wav2Vec2BertRecogniser(load_model(folder, device, threads), read_recognising(folder).front_end)


def load_model(folder: Path, device: str = "cpu", threads: int = 1, attention: str = "sdpa") -> PreTrainedModel:
    """The CTC model of an imported checkpoint in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads, and ``attention`` the implementation of
    attention in transformers. Relative positions are looked up as in `stablequant.recognisers.ctc.positions`, and
    depthwise convolutions pad their input themselves.
    """
    modeling._apply_relative_position_encoding = attend_to_relative_positions
    modeling._apply_relative_key_position_encoding = attend_to_clipped_positions
    model = load_imported(folder, device, threads, attention)
    for module in model.modules():
        if isinstance(module, modeling.Wav2Vec2BertConvolutionModule):
            module.depthwise_conv = CausalConv1d.of(module.depthwise_conv)
            vars(module)["forward"] = MethodType(_convolve, module)
    return model


def _convolve(block: Any, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The output of a block's convolutions, ``(batch, frames, width)``, as transformers computes it.

    Only the zeros before the depthwise convolution's input are its own here. In the exported graph they are too, so
    that they must stay 0 when the input is quantized.
    """
    hidden = block.layer_norm(hidden)
    if attention_mask is not None:
        hidden = hidden.masked_fill(~attention_mask.bool().unsqueeze(-1), 0)
    hidden = block.depthwise_conv(block.glu(block.pointwise_conv1(hidden.mT)))
    hidden = block.activation(block.depthwise_layer_norm(hidden.mT).mT)
    found: torch.Tensor = block.pointwise_conv2(hidden).mT
    return found
