"""Whisper's decoder in torch, with explicit keys and values: the search runs it, and the exporter exports it."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values of one layer, (utterances, heads, positions, size of a head)


def encoded_pairs(model: WhisperForConditionalGeneration, encoded: torch.Tensor) -> list[Pair]:
    """Keys and values of the cross-attention of each decoder layer.

    ``encoded`` is the encoder's output, float32 ``(utterances, frames, width)``.
    """
    return [_pair(layer.encoder_attn, encoded) for layer in _layers(model)]


def decode(
    model: WhisperForConditionalGeneration,
    tokens: torch.Tensor,
    past: Sequence[Pair],
    crossed: Sequence[Pair],
    places: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, list[Pair]]:
    """Logits ``(utterances, tokens, classes)`` of what follows each of ``tokens``, and the keys and values so far.

    Parameters
    ----------
    tokens: int64 ``(utterances, tokens)``
    past: keys and values of the tokens before these, by layer; empty if there are none
    crossed: see `encoded_pairs`
    places: position of each of ``tokens`` in its text, int64 ``(utterances, tokens)``; by default they follow ``past``
    mask: added to the scores of the self-attention, ``(utterances, 1, tokens, past and tokens)``; by default a token
        sees all tokens before it
    """
    decoder: Any = model.model.decoder
    before, count = past[0][0].shape[2] if past else 0, tokens.shape[1]
    order = before + torch.arange(count, device=tokens.device)
    hidden = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[order if places is None else places]
    if mask is None:
        known = torch.arange(before + count, device=tokens.device)
        mask = torch.where(known[None, :] > order[:, None], torch.finfo(hidden.dtype).min, 0.0)
    pairs = []
    for number, layer in enumerate(_layers(model)):
        normed = layer.self_attn_layer_norm(hidden)
        pair = _pair(layer.self_attn, normed)
        if past:
            keys, values = (torch.cat([old, new], dim=2) for old, new in zip(past[number], pair, strict=True))
            pair = keys, values
        pairs.append(pair)
        hidden = hidden + _attend(layer.self_attn, normed, pair, mask)
        hidden = hidden + _attend(layer.encoder_attn, layer.encoder_attn_layer_norm(hidden), crossed[number], None)
        inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
        hidden = hidden + layer.fc2(inner)
    head: Any = model.proj_out
    return head(decoder.layer_norm(hidden)), pairs


def _layers(model: WhisperForConditionalGeneration) -> Any:
    decoder: Any = model.model.decoder
    return decoder.layers


def _split(attention: Any, projected: torch.Tensor) -> torch.Tensor:
    """``(utterances, positions, width)`` by heads."""
    shape = (*projected.shape[:2], attention.num_heads, attention.head_dim)
    return projected.view(shape).transpose(1, 2)


def _pair(attention: Any, values: torch.Tensor) -> Pair:
    return _split(attention, attention.k_proj(values)), _split(attention, attention.v_proj(values))


def _attend(attention: Any, hidden: torch.Tensor, pair: Pair, mask: torch.Tensor | None) -> torch.Tensor:
    keys, values = pair
    queries = _split(attention, attention.q_proj(hidden) * attention.scaling)
    scores = queries @ keys.transpose(2, 3)
    if mask is not None:
        scores = scores + mask
    heard = (scores.softmax(dim=-1) @ values).transpose(1, 2)
    found: torch.Tensor = attention.out_proj(heard.reshape(hidden.shape))
    return found
