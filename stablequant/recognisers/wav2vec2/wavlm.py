"""WavLM's attention through its Linear modules, so that they can be quantized. transformers does not call them."""

from types import MethodType

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


def attend_by_modules(model: torch.nn.Module) -> None:
    """Replace the attention in every layer of ``model`` by one that calls q_proj, k_proj, v_proj and out_proj."""
    for module in model.modules():
        if isinstance(module, WavLMAttention):
            vars(module)["torch_multi_head_self_attention"] = MethodType(_attend, module)


def _attend(
    attention: WavLMAttention, hidden: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """The output of the attention, ``(batch, frames, width)``, and None in place of the attention weights.

    ``hidden`` is ``(batch, frames, width)`` and ``bias`` ``(batch * heads, frames, frames)``. ``mask``, bool
    ``(batch, frames)``, is false for padding.
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
