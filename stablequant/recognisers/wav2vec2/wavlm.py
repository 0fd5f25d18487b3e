"""WavLM's attention by its own Linear modules, which transformers bypasses, so that they can be quantized."""

from types import MethodType
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


def attend_by_modules(model: torch.nn.Module) -> None:
    """Replace the attention of every layer of ``model`` by the same through q_proj, k_proj, v_proj and out_proj."""
    for module in model.modules():
        if isinstance(module, WavLMAttention):
            vars(module)["torch_multi_head_self_attention"] = MethodType(_attend, module)


def _attend(
    attention: Any, hidden: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """``hidden`` ``(batch, frames, width)``, ``bias`` ``(batch * heads, frames, frames)``.

    ``mask`` ``(batch, frames)`` is false where a frame is padding that must not be attended to.
    """
    batch, frames, width = hidden.shape
    bias = bias.view(batch, attention.num_heads, frames, frames)
    if mask is not None:
        bias = bias.masked_fill(~mask[:, None, None], -torch.inf)

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.view(batch, frames, attention.num_heads, attention.head_dim).transpose(1, 2)

    context = scaled_dot_product_attention(
        heads(attention.q_proj(hidden)),
        heads(attention.k_proj(hidden)),
        heads(attention.v_proj(hidden)),
        attn_mask=bias,
    )
    return attention.out_proj(context.transpose(1, 2).reshape(batch, frames, width)), None
