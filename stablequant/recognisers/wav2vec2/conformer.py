"""wav2vec 2.0's conformer in a form that quantizes and exports: the same numbers, other operations."""

from typing import Any

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as modeling


def prepare(model: torch.nn.Module) -> None:
    """Fold each batch norm into the depthwise convolution before it, which an exported graph would do unseen.

    Relative positions are gathered rather than skewed: torch's exporter gets the sizes of the skewed views wrong for
    other lengths than the one it traced.
    """
    modeling._apply_relative_position_encoding = _attend_to_relative_positions
    for module in model.modules():
        if isinstance(module, modeling.Wav2Vec2ConformerConvolutionModule):
            module.depthwise_conv = fuse_conv_bn_eval(module.depthwise_conv, module.batch_norm)
            module.register_module("batch_norm", torch.nn.Identity())


def _attend_to_relative_positions(
    attention: Any, query: torch.Tensor, key: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Content query and position bias, both ``(batch, heads, frames, ...)``.

    ``positions`` ``(1, 2 * frames - 1, width)`` holds the embeddings of the distances frames - 1 down to 1 - frames.
    """
    projected = attention.linear_pos(positions).reshape(-1, attention.num_heads, attention.head_size)
    scores = (query + attention.pos_bias_v[None, :, None, :]) @ projected.permute(1, 2, 0)
    frames = torch.arange(key.size(2), device=key.device)
    distances = frames[None, :] - frames[:, None] + key.size(2) - 1
    bias = scores.gather(-1, distances.expand(*query.shape[:2], -1, -1)) * attention.scaling
    return query + attention.pos_bias_u[None, :, None, :], bias
