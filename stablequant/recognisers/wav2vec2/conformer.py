"""Change wav2vec 2.0's conformer so that it can be quantized and exported. Its results stay the same."""

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as modeling


def prepare(model: torch.nn.Module) -> None:
    """Change ``model`` in place: fold batch norms, and look up relative positions in another way.

    Each batch norm is folded into the depthwise convolution before it. The export would do this too, and then the
    quantized weights would differ from those of the search. Relative positions are gathered, not shifted in skewed
    views: torch's exporter computes wrong sizes of these views for other lengths than the traced one.
    """
    modeling._apply_relative_position_encoding = _attend_to_relative_positions
    for module in model.modules():
        if isinstance(module, modeling.Wav2Vec2ConformerConvolutionModule):
            module.depthwise_conv = fuse_conv_bn_eval(module.depthwise_conv, module.batch_norm)
            module.register_module("batch_norm", torch.nn.Identity())


def _attend_to_relative_positions(
    attention: modeling.Wav2Vec2ConformerSelfAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The query ``(batch, heads, frames, head size)`` and the position bias ``(batch, heads, frames, frames)``.

    ``positions`` ``(1, 2 * frames - 1, width)`` are the embeddings of the distances from frames - 1 down to 1 - frames.
    """
    projected = attention.linear_pos(positions).reshape(-1, attention.num_heads, attention.head_size)
    scores = (query + attention.pos_bias_v[None, :, None, :]) @ projected.permute(1, 2, 0)
    frames = torch.arange(key.size(2), device=key.device)
    distances = frames[None, :] - frames[:, None] + key.size(2) - 1
    bias = scores.gather(-1, distances.expand(*query.shape[:2], -1, -1)) * attention.scaling
    return query + attention.pos_bias_u[None, :, None, :], bias
