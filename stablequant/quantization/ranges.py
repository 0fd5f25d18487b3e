"""Ranges of common calibrations: maximum, percentile and entropy."""

import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range

LEVELS = 128  # levels of a magnitude in signed INT8: 0 to 127


def full_range(histogram: Histogram) -> Range:
    """The range of all values.

    For magnitudes it is symmetric and exact. For signed values the farther end is exact, and the other end is exact to
    one bin.
    """
    if not histogram.signed:
        return Range.symmetric(histogram.amax, histogram.split)
    edges = histogram.edges
    return Range(max(float(edges[0]), -histogram.amax), min(float(edges[-1]), histogram.amax))


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """The range that contains ``percentile`` % of the values, exact to one bin.

    For magnitudes it is symmetric, see `percentile_amax`. For signed values, each end excludes at most half of the
    remaining values.
    """
    if not histogram.signed:
        return Range.symmetric(percentile_amax(histogram, percentile), histogram.split)
    whole = full_range(histogram)
    if percentile == 100:
        return whole
    share = np.cumsum(histogram.counts / histogram.counts.sum())
    tail = (1 - percentile / 100) / 2
    edges = histogram.edges
    lowest = int(np.searchsorted(share, tail, side="right"))
    highest = min(int(np.searchsorted(share, 1 - tail)), len(histogram.counts) - 1)
    return Range(max(float(edges[lowest]), whole.low), min(float(edges[highest + 1]), whole.high))


def percentile_amax(histogram: Histogram, percentile: float) -> float:
    """The magnitude below which ``percentile`` % of the values lie, exact to one bin; 100 gives the exact maximum.

    It is the lower edge of the bin in which the percentile is reached, as in NVIDIA's pytorch-quantization.
    """
    if percentile == 100:
        return histogram.amax
    share = np.cumsum(histogram.counts / histogram.counts.sum())
    crossing = int(np.searchsorted(share, percentile / 100))
    return float(histogram.edges[max(crossing, 1)])


def entropy_amax(histogram: Histogram) -> float:
    """The amax for which the histogram in 128 levels diverges least (Kullback-Leibler) from the clipped histogram.

    The algorithm is that of TensorRT (Migacz, GTC 2017) as implemented in NVIDIA's pytorch-quantization: the count of
    the first bin is replaced by that of the second, values beyond the range are counted in its last bin, and the
    widest of equally good ranges wins.
    """
    counts = histogram.counts.astype(np.float64)
    if len(counts) <= LEVELS:
        return histogram.amax
    counts[0] = counts[1]
    occupied = np.concatenate([[0], np.cumsum(counts > 0)])
    mass = np.concatenate([[0], np.cumsum(counts)])
    total = mass[-1]
    best, best_divergence = len(counts), np.inf
    for stop in range(LEVELS, len(counts) + 1):
        bounds = np.ceil(np.linspace(0, stop, LEVELS + 1)).astype(np.int64)
        held = occupied[bounds[1:]] - occupied[bounds[:-1]]
        level_mass = mass[bounds[1:]] - mass[bounds[:-1]]
        mean = np.divide(level_mass, held, out=np.zeros(LEVELS), where=held > 0)
        candidate = np.where(counts[:stop] > 0, np.repeat(mean, np.diff(bounds)), 0.0)
        reference = counts[:stop].copy()
        reference[-1] += total - mass[stop]
        divergence = _relative_entropy(reference, candidate)
        if divergence <= best_divergence:
            best, best_divergence = stop, divergence
    return float(histogram.edges[best])


def _relative_entropy(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Kullback-Leibler divergence of ``candidate`` from ``reference``, counts ``(bins,)``, in nats."""
    if candidate.sum() == 0 or np.any((reference > 0) & (candidate == 0)):
        return np.inf
    seen = reference > 0
    p = reference[seen] / reference.sum()
    q = candidate[seen] / candidate.sum()
    return float(np.sum(p * np.log(p / q)))
