"""Lengths of the utterances of a batch at every layer, and the masks that follow from them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from stablequant.recognisers.family import QuantizedModule

Shared = TypeVar("Shared")


class Frames:
    """What the layers must know of a batch beside its values: how long each utterance is.

    Attributes
    ----------
    samples: of audio in the batch, padding included
    padded: whether the utterances differ in length, so that what follows the shorter ones is padding
    counts: frames of each utterance at the encoder's rate
    """

    def __init__(self, config: Mapping[str, Any], samples: Sequence[int]) -> None:
        self.samples = max(samples) * len(samples)
        self.padded = len(set(samples)) > 1
        self._lengths = [list(samples)]
        for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
            self._lengths.append([(length - kernel) // stride + 1 for length in self._lengths[-1]])
        self.counts = self._lengths[-1]
        self._shared: dict[str, Any] = {}

    def lengths(self, module: QuantizedModule) -> list[int]:
        """How many vectors enter ``module`` of each row of its input, padding left out."""
        if module.kind == "cnn":
            return self._lengths[int(module.layer.removeprefix("cnn")) - 1]
        if module.activation.endswith(".pos"):  # distances from one end of the frames to the other, for all utterances
            return [2 * max(self.counts) - 1]
        return self.counts

    def mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """bool ``(utterances, frames)``, true where there is audio; None where nothing is padded."""
        if not self.padded:
            return None
        frames = torch.arange(hidden.shape[1], device=hidden.device)
        return frames < torch.tensor(self.counts, device=hidden.device)[:, None]

    def rows(self, values: torch.Tensor) -> list[np.ndarray]:
        """``values`` ``(utterances, frames, classes)`` of each utterance, without padding."""
        return [row[:count] for row, count in zip(values.cpu().numpy(), self.counts, strict=True)]

    def shared(self, name: str, compute: Callable[[], Shared]) -> Shared:
        """What all layers and all passes of the batch share, computed once."""
        if name not in self._shared:
            self._shared[name] = compute()
        found: Shared = self._shared[name]
        return found
