"""Measure the range of each channel of every activation, and compute the scales that equalise them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from stablequant.corpora.utterance import Batch
from stablequant.quantization.channel_scales import channel_scales, extents_of
from stablequant.recognisers.operations import groups_of, operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.module_inputs import measure_inputs
from stablequant.search.split import Split, context_of


class ChannelPercentiles:
    """Measures an exact percentile and the maximum of the magnitudes of every channel.

    Only the values that may lie above the percentile are stored. ``percentile`` is in percent. ``expected_frames`` is
    the largest possible number of frames, by activation name.
    """

    def __init__(self, percentile: float, expected_frames: Mapping[str, int]) -> None:
        self._percentile = percentile
        self._kept = {name: _above(percentile, count) + 1 for name, count in expected_frames.items()}
        self._largest: dict[str, torch.Tensor] = {}
        self._frames: Counter[str] = Counter()

    def add(self, activation: str, values: torch.Tensor) -> None:
        """Add ``values`` ``(channels, frames)``."""
        magnitudes = values.abs().float()
        self._frames[activation] += magnitudes.shape[1]
        if activation in self._largest:
            magnitudes = torch.cat([self._largest[activation], magnitudes], dim=1)
        kept = min(self._kept[activation], magnitudes.shape[1])
        self._largest[activation] = magnitudes.topk(kept, dim=1).values

    def reached(self) -> dict[str, np.ndarray]:
        """The percentile of each channel, float64 ``(channels,)`` by activation name.

        Raises ValueError if there were more frames than expected.
        """
        return {name: self._at_percentile(name).double().cpu().numpy() for name in self._largest}

    def maxima(self) -> dict[str, np.ndarray]:
        """The largest magnitude of each channel, float64 ``(channels,)`` by activation name."""
        return {name: largest[:, 0].double().cpu().numpy() for name, largest in self._largest.items()}

    def _at_percentile(self, activation: str) -> torch.Tensor:
        place = _above(self._percentile, self._frames[activation])
        if place >= self._kept[activation]:
            raise ValueError(f"{self._frames[activation]} frames of {activation}, more than were expected")
        return self._largest[activation][:, place]


def _above(percentile: float, count: int) -> int:
    """Number of values among ``count`` that may lie above the percentile."""
    return math.floor((100 - percentile) * count / 100 + 1e-6)  # numbers such as 99.9 are not exact in binary


def measure_channels(recogniser: Recogniser, batches: Sequence[Batch], percentile: float) -> ChannelPercentiles:
    """The ``percentile`` (in percent) and the maximum of every channel of every activation, over ``batches``."""
    measured = ChannelPercentiles(percentile, _expected_frames(recogniser, batches))
    measure_inputs(recogniser, batches, measured, "channels")
    return measured


def equalise_channels(
    recogniser: Recogniser, split: Split, exponent: float, percentile: float, audio_seconds: float
) -> dict[str, np.ndarray]:
    """Scales, float32 ``(channels,)`` by activation name, for every activation with several channels.

    The range of a channel is the ``percentile`` (in percent) of its magnitudes, within limits (see `extents_of`),
    measured on ``audio_seconds`` of the split, see `Split.sample`. ``exponent`` (0 to 1) is the share of this range in
    the scale.
    """
    extents = measure_channels(recogniser, split.sample(audio_seconds), percentile)
    scales, maxima = {}, extents.maxima()
    for activation, reached in extents.reached().items():
        readers = [operation_of(recogniser.model, m) for m in recogniser.modules if m.activation == activation]
        if len(reached) > 1:
            weights = [reader.weight.cpu().numpy() for reader in readers]
            scales[activation] = channel_scales(
                extents_of(reached, maxima[activation]), weights, groups_of(readers[0]), exponent
            )
    return scales


def _expected_frames(recogniser: Recogniser, batches: Sequence[Batch]) -> dict[str, int]:
    """Number of vectors of each activation in all ``batches``, by activation name."""
    expected: Counter[str] = Counter()
    for batch in batches:
        context = context_of(recogniser, batch)
        for activation, module in {m.activation: m for m in recogniser.modules}.items():
            expected[activation] += sum(context.lengths(module))
    return expected
