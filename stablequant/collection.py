"""Gathering the histograms of all activations in one pass and in fixed memory."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from stablequant.histograms import Histogram
from stablequant.layers import QuantizedModule

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


@contextmanager
def collecting(model: torch.nn.Module, modules: Iterable[QuantizedModule]) -> Iterator[dict[str, HistogramCollector]]:
    """Collectors by activation name, fed by every forward pass of ``model`` inside the block."""
    collectors: dict[str, HistogramCollector] = {}
    handles = []
    for module in modules:
        if module.activation in collectors:
            continue
        collector = collectors[module.activation] = HistogramCollector()

        def hook(_module: torch.nn.Module, inputs: tuple, collector: HistogramCollector = collector) -> None:
            collector.collect(inputs[0])

        handles.append(model.get_submodule(module.module).register_forward_pre_hook(hook))
    try:
        yield collectors
    finally:
        for handle in handles:
            handle.remove()
