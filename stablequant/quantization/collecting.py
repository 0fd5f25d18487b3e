"""Collect histograms of all activations in one pass, with fixed memory."""

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
EXACT_COUNTS = 2**24  # torch.histc counts in float32, which is exact up to this number


@dataclass
class HistogramCollector:
    """Counts magnitudes in `BINS` bins. If a value exceeds the range, the range doubles and pairs of bins are merged.

    The first batch decides the width of the bins; later widths are this width times a power of two. Merging is exact.
    The memory does not grow with the range.

    Attributes
    ----------
    signed: whether values are counted with their signs, in `BINS` bins on each side of 0
    split: stored in the histogram, see `stablequant.quantization.histograms.Histogram`
    limit: upper end of the last bin; 0 while only zeros were counted
    amax: largest magnitude so far
    counts: int64 ``(BINS,)``, or ``(2 * BINS,)`` if signed
    """

    signed: bool = False
    split: bool = False
    limit: float = 0.0
    amax: float = 0.0
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._zero = BINS if self.signed else 0  # index of the first bin above 0
        self.counts = np.zeros(self._zero + BINS, dtype=np.int64)

    def collect(self, values: torch.Tensor) -> None:
        """Count ``values`` (any shape); raise `StableQuantError` if they contain NaN or infinity."""
        magnitudes = values.detach().abs().flatten().float()
        counted = values.detach().flatten().float() if self.signed else magnitudes
        largest = magnitudes.max().item()
        if not math.isfinite(largest):
            raise StableQuantError(
                "the recogniser's activations",
                "they contain NaN or infinity",
                "check its weights, or take precision: float32",
            )
        self.amax = max(self.amax, largest)
        if largest > self.limit:
            self._widen(largest)
        if self.limit == 0:
            self.counts[self._zero] += counted.numel()
            return
        lowest = -self.limit if self.signed else 0
        for part in torch.split(counted, EXACT_COUNTS):
            self.counts += torch.histc(part, len(self.counts), lowest, self.limit).long().cpu().numpy()

    def _widen(self, largest: float) -> None:
        """Double the range until it contains ``largest``."""
        if self.limit == 0:
            self.limit = largest
            return
        doublings = math.ceil(math.log2(largest / self.limit))
        merged = np.zeros_like(self.counts)
        np.add.at(merged, (np.arange(len(merged)) - self._zero >> doublings) + self._zero, self.counts)
        self.counts, self.limit = merged, self.limit * 2.0**doublings

    def histogram(self) -> Histogram:
        """The histogram of what was counted so far, without empty bins at its ends."""
        if self.limit == 0:
            return Histogram(self.counts[self._zero :][:1].copy(), 0.0, 0.0, 0 if self.signed else None, self.split)
        used = np.flatnonzero(self.counts)
        start, stop = int(used[0]) if self.signed else 0, int(used[-1]) + 1
        first = start - self._zero if self.signed else None
        return Histogram(self.counts[start:stop].copy(), self.limit / BINS, self.amax, first, self.split)


class Collectors(dict[str, HistogramCollector]):
    """Collectors by activation name. Set ``context`` for each batch, so that its padding is not counted."""

    context: Context | None = None

    def histograms(self) -> dict[str, Histogram]:
        """Histograms by activation name."""
        return {name: collector.histogram() for name, collector in self.items()}


@dataclass(frozen=True)
class Preparation:
    """How activations are prepared for quantization.

    Attributes
    ----------
    channel_scales: divisors of the channels, float32 ``(channels,)`` by activation name
    recentre: whether the centre of a range may differ from 0, for operations without zero padding
    split_audio: whether the audio is quantized as two numbers: a coarse one and its rounding error
    """

    channel_scales: Mapping[str, np.ndarray] = field(default_factory=dict)
    recentre: bool = False
    split_audio: bool = False

    @property
    def changes_anything(self) -> bool:
        """Whether any activation is changed before it is quantized."""
        return bool(self.channel_scales) or self.recentre or self.split_audio


@contextmanager
def collecting(
    model: torch.nn.Module, modules: Iterable[QuantizedModule], preparation: Preparation | None = None
) -> Iterator[Collectors]:
    """Collectors that count the inputs of ``modules`` in every forward pass of ``model`` inside the block.

    With ``preparation``, activations are divided by their channel scales first. Signs are counted if the centre of the
    range may differ from 0. The histogram of audio that will be quantized as two numbers has ``split`` set.
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
            inputs: tuple[torch.Tensor, ...],
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
    """The input ``values`` of ``operation`` without padding.

    It is one tensor ``(utterances, ...)`` if nothing is padded, otherwise one tensor per utterance.
    """
    if context is None or not context.padded:
        return [values]
    time_axis = 1 - channel_axis(operation)  # of one utterance's two axes
    return [row.narrow(time_axis, 0, length) for row, length in zip(values, context.lengths(module), strict=True)]
