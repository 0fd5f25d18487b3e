"""Frames of the utterances in a batch, and masks for the padding."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

Shared = TypeVar("Shared")


class BatchFrames:
    """Frames and masks of a batch. A family adds ``lengths``, see `stablequant.recognisers.recogniser.Context`.

    Attributes
    ----------
    samples: samples of audio in the batch, including padding
    padded: whether utterances differ in length; then the shorter ones are padded at the end
    counts: number of frames of each utterance in the output
    heard: number of frames of each utterance that attention may see; the others are padding
    """

    def __init__(self, samples: Sequence[int], counts: Sequence[int], heard: Sequence[int]) -> None:
        self.samples = max(samples) * len(samples)
        self.padded = len(set(samples)) > 1
        self.counts, self.heard = list(counts), list(heard)
        self._shared: dict[str, Any] = {}

    def mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """bool ``(utterances, frames)``, true for audio and false for padding; None if nothing is padded.

        ``hidden`` is ``(utterances, frames, width)``.
        """
        if min(self.heard) == hidden.shape[1]:
            return None
        frames = torch.arange(hidden.shape[1], device=hidden.device)
        return frames < torch.tensor(self.heard, device=hidden.device)[:, None]

    def rows(self, values: torch.Tensor) -> list[np.ndarray]:
        """``values`` ``(utterances, frames, classes)`` as one array ``(frames, classes)`` per utterance, unpadded."""
        return [row[:count] for row, count in zip(values.cpu().numpy(), self.counts, strict=True)]

    def shared(self, name: str, compute: Callable[[], Shared]) -> Shared:
        """A value that all layers and passes of the batch share. It is computed once and stored as ``name``."""
        if name not in self._shared:
            self._shared[name] = compute()
        found: Shared = self._shared[name]
        return found
