"""Gathering the histograms of all activations in one pass and in fixed memory."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from stablequant.errors import StableQuantError
from stablequant.quantization.histograms import Histogram
from stablequant.recognisers.operations import Operation, channel_axis, is_padded, operation_of, reads_audio, reciprocal
from stablequant.recognisers.wav2vec2.forward import Frames
from stablequant.recognisers.wav2vec2.layers import QuantizedModule

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
    """Collectors by activation name. ``frames``, where set, says what of a batch is padding and does not count."""

    frames: Frames | None = None

    def histograms(self) -> dict[str, Histogram]:
        return {name: collector.histogram() for name, collector in self.items()}


@contextmanager
def collecting(
    model: torch.nn.Module,
    modules: Iterable[QuantizedModule],
    channel_scales: Mapping[str, np.ndarray] | None = None,
    recentre: bool = False,
    split_audio: bool = False,
) -> Iterator[Collectors]:
    """Collectors fed by every forward pass of ``model`` inside the block.

    Activations are divided by their ``channel_scales`` first. With ``recentre`` signs are kept wherever the range may
    lie around another centre than 0, which is where no zeros are padded. With ``split_audio`` what the first
    convolution reads is to be quantized as two numbers, around 0.
    """
    scales = channel_scales or {}
    collectors = Collectors()
    handles = []
    for module in modules:
        if module.activation in collectors:
            continue
        operation = operation_of(model, module)
        split = split_audio and reads_audio(operation)
        collectors[module.activation] = HistogramCollector(recentre and not split and not is_padded(operation), split)
        factor = reciprocal(operation, scales.get(module.activation))

        def hook(
            operation: Operation,
            inputs: tuple,
            module: QuantizedModule = module,
            factor: torch.Tensor | None = factor,
        ) -> None:
            values = inputs[0] if factor is None else inputs[0] * factor
            for part in audio_of(values, module.layer, operation, collectors.frames):
                collectors[module.activation].collect(part)

        handles.append(operation.register_forward_pre_hook(hook))
    try:
        yield collectors
    finally:
        for handle in handles:
            handle.remove()


def audio_of(values: torch.Tensor, layer: str, operation: Operation, frames: Frames | None) -> Iterable[torch.Tensor]:
    """What enters ``operation``, ``values`` ``(utterances, ...)``, without padding."""
    if frames is None or not frames.padded:
        return [values]
    time_axis = 1 - channel_axis(operation)  # of one utterance's two axes
    return [row.narrow(time_axis, 0, length) for row, length in zip(values, frames.entering(layer), strict=True)]
