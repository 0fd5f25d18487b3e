"""Gathering the histograms of all activations in one pass and in fixed memory."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from stablequant.histograms import Histogram
from stablequant.layers import QuantizedModule
from stablequant.operations import operation_of
from stablequant.stages import Frames

BINS = 4096
EXACT_COUNTS = 2**24  # torch.histc counts in float32, which is exact up to here


@dataclass
class HistogramCollector:
    """Counts magnitudes into `BINS` bins; when a larger one comes, the range doubles and neighbouring bins merge.

    Merging is exact, so the result depends on neither the range of the first batch alone nor the number of batches,
    and a range that grows a million-fold needs no more memory.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    limit: float = 0.0
    amax: float = 0.0

    def collect(self, values: torch.Tensor) -> None:
        """Count the magnitudes of ``values`` (any shape)."""
        magnitudes = values.detach().abs().flatten().float()
        largest = magnitudes.max().item()
        if not math.isfinite(largest):
            raise FloatingPointError("activations are not finite")
        self.amax = max(self.amax, largest)
        if largest > self.limit:
            self._widen(largest)
        if self.limit == 0:
            self.counts[0] += magnitudes.numel()
            return
        for part in magnitudes.split(EXACT_COUNTS):
            self.counts += torch.histc(part, BINS, 0, self.limit).long().cpu().numpy()

    def _widen(self, largest: float) -> None:
        if self.limit == 0:
            self.limit = largest
            return
        doublings = math.ceil(math.log2(largest / self.limit))
        merged = np.zeros_like(self.counts)
        np.add.at(merged, np.arange(BINS) >> doublings, self.counts)
        self.counts, self.limit = merged, self.limit * 2.0**doublings

    def histogram(self) -> Histogram:
        """What was counted, without the empty bins past the largest magnitude."""
        if self.limit == 0:
            return Histogram(self.counts[:1].copy(), 0.0, 0.0)
        used = int(np.flatnonzero(self.counts)[-1]) + 1
        return Histogram(self.counts[:used].copy(), self.limit / BINS, self.amax)


class Collectors(dict[str, HistogramCollector]):
    """Collectors by activation name. ``frames``, where set, says what of a batch is padding and does not count."""

    frames: Frames | None = None


@contextmanager
def collecting(model: torch.nn.Module, modules: Iterable[QuantizedModule]) -> Iterator[Collectors]:
    """Collectors fed by every forward pass of ``model`` inside the block."""
    collectors = Collectors()
    handles = []
    for module in modules:
        if module.activation in collectors:
            continue
        collectors[module.activation] = HistogramCollector()
        operation = operation_of(model, module)
        time_axis = -1 if isinstance(operation, torch.nn.Conv1d) else 1

        def hook(
            _module: torch.nn.Module, inputs: tuple, module: QuantizedModule = module, axis: int = time_axis
        ) -> None:
            for part in _audio(inputs[0], module.layer, axis, collectors.frames):
                collectors[module.activation].collect(part)

        handles.append(operation.register_forward_pre_hook(hook))
    try:
        yield collectors
    finally:
        for handle in handles:
            handle.remove()


def _audio(values: torch.Tensor, layer: str, time_axis: int, frames: Frames | None) -> Iterable[torch.Tensor]:
    """``values`` ``(utterances, ...)`` without padding."""
    if frames is None or not frames.padded:
        return [values]
    lengths = frames.entering(layer)
    return [row.narrow(time_axis - (time_axis > 0), 0, length) for row, length in zip(values, lengths, strict=True)]
