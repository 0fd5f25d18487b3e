"""Gathering the histograms of all activations in one pass and in fixed memory."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from stablequant.errors import StableQuantError
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.scaled import reciprocal
from stablequant.recognisers.family import Context, QuantizedModule
from stablequant.recognisers.operations import Operation, channel_axis, is_padded, operation_of, reads_audio

BINS = 4096
EXACT_COUNTS = 2**24  # torch.histc counts in float32, which is exact up to here


@dataclass
class HistogramCollector:
    """Counts magnitudes into `BINS` bins; when a larger one comes, the range doubles and neighbouring bins merge.

    With ``signed`` it counts values with their signs, into as many bins on either side of 0. ``split`` is noted in the
    histogram.

    Merging is exact, so the result depends on neither the range of the first batch alone nor the number of batches,
    and a range that grows a million-fold needs no more memory.
    """

    signed: bool = False
    split: bool = False
    limit: float = 0.0
    amax: float = 0.0
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._zero = BINS if self.signed else 0  # the bin above 0
        self.counts = np.zeros(self._zero + BINS, dtype=np.int64)

    def collect(self, values: torch.Tensor) -> None:
        """Count ``values`` (any shape)."""
        magnitudes = values.detach().abs().flatten().float()
        counted = values.detach().flatten().float() if self.signed else magnitudes
        largest = magnitudes.max().item()
        if not math.isfinite(largest):
            raise StableQuantError(
                "the recogniser's activations", "not finite numbers", "check its weights, or take precision: float32"
            )
        self.amax = max(self.amax, largest)
        if largest > self.limit:
            self._widen(largest)
        if self.limit == 0:
            self.counts[self._zero] += counted.numel()
            return
        lowest = -self.limit if self.signed else 0
        for part in counted.split(EXACT_COUNTS):
            self.counts += torch.histc(part, len(self.counts), lowest, self.limit).long().cpu().numpy()

    def _widen(self, largest: float) -> None:
        if self.limit == 0:
            self.limit = largest
            return
        doublings = math.ceil(math.log2(largest / self.limit))
        merged = np.zeros_like(self.counts)
        np.add.at(merged, (np.arange(len(merged)) - self._zero >> doublings) + self._zero, self.counts)
        self.counts, self.limit = merged, self.limit * 2.0**doublings

    def histogram(self) -> Histogram:
        """What was counted, without the empty bins past the outermost values."""
        if self.limit == 0:
            return Histogram(self.counts[self._zero :][:1].copy(), 0.0, 0.0, 0 if self.signed else None, self.split)
        used = np.flatnonzero(self.counts)
        start, stop = int(used[0]) if self.signed else 0, int(used[-1]) + 1
        first = start - self._zero if self.signed else None
        return Histogram(self.counts[start:stop].copy(), self.limit / BINS, self.amax, first, self.split)


class Collectors(dict[str, HistogramCollector]):
    """Collectors by activation name. ``context``, where set, tells what of a batch is padding and does not count."""

    context: Context | None = None

    def histograms(self) -> dict[str, Histogram]:
        return {name: collector.histogram() for name, collector in self.items()}


@dataclass(frozen=True)
class Preparation:
    """How activations are prepared for quantization.

    Attributes
    ----------
    channel_scales: what channels are divided by, float32 ``(channels,)`` by activation
    recentre: whether the range may lie around another centre than 0, wherever no zeros are padded
    split_audio: whether the audio is quantized as two numbers, a coarse one and what it leaves
    """

    channel_scales: Mapping[str, np.ndarray] = field(default_factory=dict)
    recentre: bool = False
    split_audio: bool = False

    @property
    def changes_anything(self) -> bool:
        """Whether any activation is quantized otherwise than as it is."""
        return bool(self.channel_scales) or self.recentre or self.split_audio


@contextmanager
def collecting(
    model: torch.nn.Module, modules: Iterable[QuantizedModule], preparation: Preparation | None = None
) -> Iterator[Collectors]:
    """Collectors fed by every forward pass of ``model`` inside the block.

    With ``preparation`` activations are divided by their channel scales first, signs are kept where the range may lie
    around another centre than 0, and audio that is to be quantized as two numbers is marked so.
    """
    chosen = preparation or Preparation()
    collectors = Collectors()
    handles = []
    for module in modules:
        if module.activation in collectors:
            continue
        operation = operation_of(model, module)
        split = chosen.split_audio and reads_audio(operation)
        collectors[module.activation] = HistogramCollector(
            chosen.recentre and not split and not is_padded(operation), split
        )
        factor = reciprocal(operation, chosen.channel_scales.get(module.activation))

        def hook(
            operation: Operation,
            inputs: tuple,
            module: QuantizedModule = module,
            factor: torch.Tensor | None = factor,
        ) -> None:
            values = inputs[0] if factor is None else inputs[0] * factor
            for part in unpadded(values, module, operation, collectors.context):
                collectors[module.activation].collect(part)

        handles.append(operation.register_forward_pre_hook(hook))
    try:
        yield collectors
    finally:
        for handle in handles:
            handle.remove()


def unpadded(
    values: torch.Tensor, module: QuantizedModule, operation: Operation, context: Context | None
) -> Iterable[torch.Tensor]:
    """What enters ``operation``, ``values`` ``(utterances, ...)``, without padding: as it is, or row by row."""
    if context is None or not context.padded:
        return [values]
    time_axis = 1 - channel_axis(operation)  # of one utterance's two axes
    return [row.narrow(time_axis, 0, length) for row, length in zip(values, context.lengths(module), strict=True)]
