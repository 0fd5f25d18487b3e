"""Ranges of common calibrations: maximum, percentile and entropy."""

import numpy as np

from stablequant.quantization.histograms import TINIEST, Histogram, mirrored
from stablequant.quantization.int8 import Range

LEVELS = 128  # levels of a magnitude in signed INT8: 0 to 127
EQUAL_BINS = 4096  # bins of the same width in which `entropy_amax` counts
MANY = 0.1  # share of exact zeros from which 0 is a level


def range_between(histogram: Histogram, low: float, high: float) -> Range:
    """The range from ``low`` to ``high`` for signed values. 0 is a level if at least `MANY` of them are exactly 0."""
    return Range(low, high, zero_level=histogram.zeros >= MANY * histogram.total, carried=histogram.carried)


def range_up_to(histogram: Histogram, amax: float) -> Range:
    """The range from -``amax`` to ``amax`` for magnitudes."""
    return Range.symmetric(amax, histogram.split, histogram.carried)


def full_range(histogram: Histogram) -> Range:
    """The range of all values. For magnitudes it is symmetric.

    It is exact, but for an end of signed values that 0 does not lie before: that one is exact to one bin.
    """
    if not histogram.signed:
        return range_up_to(histogram, histogram.amax)
    return range_between(histogram, histogram.low, histogram.high)


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """The range that contains ``percentile`` % of the values.

    For magnitudes it is symmetric, see `percentile_amax`. For signed values, each end excludes half of the remaining
    values. If so many values are 0 that nothing else would be left, nothing is excluded.
    """
    if not histogram.signed:
        return range_up_to(histogram, percentile_amax(histogram, percentile))
    if percentile == 100:
        return full_range(histogram)
    kept = histogram.total - histogram.total * (1 - percentile / 100) / 2
    low, high = 0.0 - _reached(mirrored(histogram), kept), _reached(histogram, kept)
    return range_between(histogram, low, high) if low < high else full_range(histogram)


def percentile_amax(histogram: Histogram, percentile: float) -> float:
    """The magnitude below which ``percentile`` % of the values lie; 100 gives the exact maximum.

    Inside a bin it is interpolated. If the percentile is 0, because so many values are 0, nothing is excluded.
    """
    if percentile == 100:
        return histogram.amax
    return _reached(histogram, histogram.total * percentile / 100) or histogram.amax


def _reached(histogram: Histogram, count: float) -> float:
    """The smallest value that has ``count`` values below or at it. It is interpolated inside a bin, and 0 among zeros.

    ``count`` is above 0 and at most the number of values.
    """
    below = histogram.sums[0]
    crossing = min(int(np.searchsorted(below, count)), len(histogram.counts))
    start, end = histogram.edges[crossing - 1], histogram.edges[crossing]
    if max(abs(start), abs(end)) == TINIEST:
        return 0.0
    return float(start + (end - start) * (count - below[crossing - 1]) / histogram.counts[crossing - 1])


def entropy_amax(histogram: Histogram, bins: int = EQUAL_BINS) -> float:
    """The amax for which the histogram in 128 levels diverges least (Kullback-Leibler) from the clipped histogram.

    ``histogram`` is of magnitudes. They are counted anew in ``bins`` bins of the same width, see `Histogram.rebinned`.

    The algorithm is that of TensorRT (Migacz, GTC 2017) as implemented in NVIDIA's pytorch-quantization: the count of
    the first bin is replaced by that of the second, values beyond the range are counted in its last bin, and the
    widest of equally good ranges wins.
    """
    if bins <= LEVELS or histogram.amax == 0:
        return histogram.amax
    equal = histogram.rebinned(bins)
    counts = equal.counts.astype(np.float64)
    counts[0] = counts[1]
    occupied = np.concatenate([[0], np.cumsum(counts > 0)])
    mass = np.concatenate([[0], np.cumsum(counts)])
    total = mass[-1]
    best, best_divergence = bins, np.inf
    for stop in range(LEVELS, bins + 1):
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
    return float(equal.edges[best])


def _relative_entropy(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Kullback-Leibler divergence of ``candidate`` from ``reference``, counts ``(bins,)``, in nats."""
    if candidate.sum() == 0 or np.any((reference > 0) & (candidate == 0)):
        return np.inf
    seen = reference > 0
    p = reference[seen] / reference.sum()
    q = candidate[seen] / candidate.sum()
    return float(np.sum(p * np.log(p / q)))
