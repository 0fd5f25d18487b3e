"""Ranges that common calibrations read off a histogram: all that was seen, percentile and entropy."""

import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range

LEVELS = 128  # magnitudes of a signed 8-bit number, 0 to 127


def full_range(histogram: Histogram) -> Range:
    """All that was seen: symmetric over magnitudes; over signed values each end to one bin, the farther one exactly."""
    if not histogram.signed:
        return Range.symmetric(histogram.amax, histogram.split)
    edges = histogram.edges
    return Range(max(float(edges[0]), -histogram.amax), min(float(edges[-1]), histogram.amax))


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """What holds ``percentile`` % of the values, to one bin: symmetric over magnitudes (see `percentile_amax`); over
    signed values each end leaves out at most half of the rest."""
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
    """The magnitude below which ``percentile`` % of the values lie, to one bin; 100 gives the exact maximum.

    The edge below the bin that crosses the percentile is taken, as NVIDIA's pytorch-quantization does.
    """
    if percentile == 100:
        return histogram.amax
    share = np.cumsum(histogram.counts / histogram.counts.sum())
    crossing = int(np.searchsorted(share, percentile / 100))
    return float(histogram.edges[max(crossing, 1)])


def entropy_amax(histogram: Histogram) -> float:
    """The range whose 128-level histogram diverges least (Kullback-Leibler) from the clipped one.

    The algorithm is TensorRT's (Migacz, GTC 2017) in the form of NVIDIA's pytorch-quantization: the first bin is
    levelled with the second, the mass past the range falls into its last bin, and of equals the widest range wins.
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
    if candidate.sum() == 0 or np.any((reference > 0) & (candidate == 0)):
        return np.inf
    seen = reference > 0
    p = reference[seen] / reference.sum()
    q = candidate[seen] / candidate.sum()
    return float(np.sum(p * np.log(p / q)))
