"""Lengths of the utterances in a batch at every layer, and masks for the padding."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from stablequant.recognisers.family import QuantizedModule
from stablequant.recognisers.wav2vec2.layers import ModelConfig

Shared = TypeVar("Shared")


class Frames:
    """Lengths and masks of a batch, see `stablequant.recognisers.family.Context`.

    Attributes
    ----------
    samples: samples of audio in the batch, including padding
    padded: whether utterances differ in length; then the shorter ones are padded at the end
    counts: number of frames of each utterance at the encoder's rate
    """

    def __init__(self, config: ModelConfig, samples: Sequence[int]) -> None:
        self.samples = max(samples) * len(samples)
        self.padded = len(set(samples)) > 1
        self._lengths = [list(samples)]
        for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
            self._lengths.append([(length - kernel) // stride + 1 for length in self._lengths[-1]])
        self.counts = self._lengths[-1]
        self._shared: dict[str, Any] = {}

    def lengths(self, module: QuantizedModule) -> list[int]:
        """Number of vectors in each row of the input of ``module``, without padding."""
        if module.kind == "cnn":
            return self._lengths[int(module.layer.removeprefix("cnn")) - 1]
        if module.activation.endswith(".pos"):  # one row for all utterances: the distances between frames
            return [2 * max(self.counts) - 1]
        return self.counts

    def mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """bool ``(utterances, frames)``, true for audio and false for padding; None if nothing is padded.

        ``hidden`` is ``(utterances, frames, width)``.
        """
        if not self.padded:
            return None
        frames = torch.arange(hidden.shape[1], device=hidden.device)
        return frames < torch.tensor(self.counts, device=hidden.device)[:, None]

    def rows(self, values: torch.Tensor) -> list[np.ndarray]:
        """``values`` ``(utterances, frames, classes)`` as one array ``(frames, classes)`` per utterance, unpadded."""
        return [row[:count] for row, count in zip(values.cpu().numpy(), self.counts, strict=True)]

    def shared(self, name: str, compute: Callable[[], Shared]) -> Shared:
        """A value that all layers and passes of the batch share. It is computed once and stored as ``name``."""
        if name not in self._shared:
            self._shared[name] = compute()
        found: Shared = self._shared[name]
        return found
