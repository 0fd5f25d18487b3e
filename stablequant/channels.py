"""How far each channel of every activation reaches, and the scales that equalise them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from stablequant.batches import loaded
from stablequant.collection import audio_of
from stablequant.equalisation import channel_scales
from stablequant.layers import QuantizedModule
from stablequant.operations import Operation, channel_axis, groups_of, operation_of
from stablequant.reference import Split
from stablequant.stages import Frames, Stages


class Extents:
    """Mean over utterances of a percentile of every channel's magnitudes; ``frames`` says what is padding."""

    def __init__(self, percentile: float) -> None:
        self.frames: Frames | None = None
        self._percentile = percentile
        self._sums: dict[str, torch.Tensor] = {}
        self._utterances: dict[str, int] = {}

    def add(self, activation: str, utterance: torch.Tensor) -> None:
        """Take one utterance's values ``(channels, frames)``."""
        count = utterance.shape[1]
        place = max(1, math.ceil(self._percentile / 100 * count))
        reached = utterance.abs().float().kthvalue(place, dim=1).values.double().cpu()
        self._sums[activation] = self._sums.get(activation, 0) + reached
        self._utterances[activation] = self._utterances.get(activation, 0) + 1

    def means(self) -> dict[str, np.ndarray]:
        """float64 ``(channels,)`` by activation."""
        return {name: (total / self._utterances[name]).numpy() for name, total in self._sums.items()}


def equalise_channels(
    stages: Stages,
    modules: Sequence[QuantizedModule],
    split: Split,
    exponent: float,
    percentile: float,
    audio_seconds: float,
) -> dict[str, np.ndarray]:
    """Scales, float32 ``(channels,)``, of every activation that has several channels.

    They are measured on ``audio_seconds`` of the split, see `Split.sample`. A channel's range is that ``percentile``
    (in percent) of its magnitudes, and ``exponent`` (0 to 1) the range's share in the scale.
    """
    with _measuring(stages.model, modules, percentile) as extents:
        for batch, audio in loaded(split.sample(audio_seconds), split.front_end, "channels"):
            extents.frames = stages.frames([u.samples for u in batch])
            stages.logits(stages.enter(audio), 0, extents.frames)
    scales = {}
    for activation, reached in extents.means().items():
        readers = [operation_of(stages.model, m) for m in modules if m.activation == activation]
        if len(reached) > 1:
            weights = [reader.weight.cpu().numpy() for reader in readers]
            scales[activation] = channel_scales(reached, weights, groups_of(readers[0]), exponent)
    return scales


@contextmanager
def _measuring(model: torch.nn.Module, modules: Sequence[QuantizedModule], percentile: float) -> Iterator[Extents]:
    extents = Extents(percentile)
    handles = []
    for module in {m.activation: m for m in modules}.values():

        def hook(operation: Operation, inputs: tuple, module: QuantizedModule = module) -> None:
            for part in audio_of(inputs[0], module.layer, operation, extents.frames):
                for row in part if part.ndim == 3 else [part]:
                    extents.add(module.activation, row if channel_axis(operation) == 0 else row.T)

        handles.append(operation_of(model, module).register_forward_pre_hook(hook))
    try:
        yield extents
    finally:
        for handle in handles:
            handle.remove()
