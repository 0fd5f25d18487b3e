"""Relative positions in the attention of conformers, computed in a way that can be exported.

Both functions have the arguments and the results of transformers' functions whose place they take.
"""

from typing import Any

import torch


def attend_to_relative_positions(
    attention: Any, query: torch.Tensor, key: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The query ``(batch, heads, frames, head size)`` and the position bias ``(batch, heads, frames, frames)``.

    ``positions`` ``(1, 2 * frames - 1, width)`` are the embeddings of the distances from frames - 1 down to 1 - frames.
    Scores are gathered, not shifted in skewed views: torch's exporter computes wrong sizes of these views for other
    lengths than the traced one.
    """
    projected = attention.linear_pos(positions).reshape(-1, attention.num_heads, attention.head_size)
    scores = (query + attention.pos_bias_v[None, :, None, :]) @ projected.permute(1, 2, 0)
    bias = _gathered(scores, _distances(key) + key.size(2) - 1) * attention.scaling
    return query + attention.pos_bias_u[None, :, None, :], bias


def attend_to_clipped_positions(
    attention: Any, query: torch.Tensor, key: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The query ``(batch, heads, frames, head size)`` and the position bias ``(batch, heads, frames, frames)``.

    Larger distances than the largest embedded one count as that. Each query is multiplied by the few embeddings
    first, and the scores are gathered then: an embedding for every pair of frames would take ``head size`` times the
    memory of a head's scores, half a gigabyte for 30 s of audio.
    """
    left, right = attention.left_max_position_embeddings, attention.right_max_position_embeddings
    scores = query @ attention.distance_embedding.weight.mT
    bias = _gathered(scores, _distances(key).clamp(-left, right) + left) * attention.scaling
    return query, bias


def _distances(key: torch.Tensor) -> torch.Tensor:
    """How many frames after the query each key stands, ``(frames, frames)``."""
    frames = torch.arange(key.size(2), device=key.device)
    return frames[None, :] - frames[:, None]


def _gathered(scores: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Of ``scores`` ``(batch, heads, frames, embeddings)``, those that ``index`` ``(frames, frames)`` names."""
    return scores.gather(-1, index.expand(*scores.shape[:2], -1, -1))
