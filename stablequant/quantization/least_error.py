"""The range of least mean squared quantization error."""

import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import QMAX, Range, between_levels
from stablequant.quantization.ranges import percentile_amax, percentile_range

CHUNK = 256  # candidate ranges evaluated at once
COARSE, FINALISTS = 8, 8
FRACTIONS = np.linspace(0, 0.95, 20)  # of the way from an end of the values to their mean
ROUNDS = 3  # of looking closer around the best two ends


def squared_error(histogram: Histogram, amaxes: np.ndarray, centres: np.ndarray | float = 0.0) -> np.ndarray:
    """Mean squared error, ``(candidates,)``, of quantizing the histogram's values to each range of ``amaxes``.

    Inside a bin the values are taken as spread evenly, and the error, rounding as well as clamping, is integrated
    exactly: with step s and n = round(t / s), at most 127 from 0, the integral of (u - Q(u))^2 from 0 to t is
    n s^3 / 12 + (t - n s)^3 / 3. ``centres``, ``(candidates,)``, are of ranges that do not lie around 0.
    """
    step = np.asarray(amaxes, dtype=np.float64)[:, None] / QMAX
    edges = histogram.edges[None, :] - np.reshape(centres, (-1, 1))
    nearest = np.clip(np.rint(edges / step), -QMAX, QMAX)
    integral = nearest * step**3 / 12 + (edges - nearest * step) ** 3 / 3
    return np.diff(integral, axis=1) @ (histogram.counts / histogram.counts.sum()) / histogram.width


def clip(histogram: Histogram, amax: float) -> Histogram:
    """The histogram of the values clipped to ``amax``: what lay beyond is counted in the last bin kept."""
    kept = min(len(histogram.counts), max(1, round(amax / histogram.width))) if histogram.width else 1
    counts = histogram.counts[:kept].copy()
    counts[-1] += histogram.counts[kept:].sum()
    return Histogram(counts, histogram.width, min(histogram.amax, amax))


def mse_range(histogram: Histogram, percentile: float = 100) -> Range:
    """The range of least mean squared error over the histogram clipped at ``percentile``.

    Symmetric over magnitudes, see `mse_amax`; over signed values both ends are searched. Where the activation is split
    nothing is gained by clipping more.
    """
    if histogram.split:
        return percentile_range(histogram, percentile)
    if not histogram.signed:
        return Range.symmetric(mse_amax(clip(histogram, percentile_amax(histogram, percentile))))
    clipped = clip_ends(histogram, percentile_range(histogram, percentile))
    if clipped.amax == 0:
        return Range.symmetric(0.0)
    edges = clipped.edges
    mean = float((edges[:-1] + edges[1:]) @ clipped.counts / clipped.counts.sum() / 2)
    lows, highs = edges[0] + FRACTIONS * (mean - edges[0]), edges[-1] - FRACTIONS * (edges[-1] - mean)
    low, high = _best_ends(clipped, lows, highs)
    step_low, step_high = lows[1] - lows[0], highs[0] - highs[1]
    for _ in range(ROUNDS):
        closer = np.arange(-4, 5) / 4
        low, high = _best_ends(
            clipped, (low + step_low * closer).clip(min=edges[0]), (high + step_high * closer).clip(max=edges[-1])
        )
        step_low, step_high = step_low / 4, step_high / 4
    return Range(low, high)


def _best_ends(histogram: Histogram, lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
    """The pair of one of ``lows`` and one of ``highs`` with the least error."""
    low, high = (ends.ravel() for ends in np.meshgrid(lows, highs))
    low, high = low[low < high], high[low < high]
    amax = (high - low) / 2
    best = int(np.argmin(_errors(histogram, amax, between_levels(high + low, amax / QMAX))))
    return float(low[best]), float(high[best])


def clip_ends(histogram: Histogram, ends: Range) -> Histogram:
    """The histogram of the signed values clipped to ``ends``, which lie on its edges or beyond."""
    if not histogram.width:
        return histogram
    start = int(np.clip(round(ends.low / histogram.width) - histogram.start, 0, len(histogram.counts) - 1))
    stop = int(np.clip(round(ends.high / histogram.width) - histogram.start, start + 1, len(histogram.counts)))
    counts = histogram.counts[start:stop].copy()
    counts[0] += histogram.counts[:start].sum()
    counts[-1] += histogram.counts[stop:].sum()
    return Histogram(counts, histogram.width, max(abs(ends.low), abs(ends.high)), histogram.start + start)


def mse_amax(histogram: Histogram) -> float:
    """The range of least mean squared error among the histogram's bin edges; 0 for a dead activation.

    Every `COARSE`-th edge is tried first, then all edges around the best few: the error is smooth on that scale.
    """
    if histogram.amax == 0:
        return 0.0
    edges = histogram.edges
    coarse = np.arange(len(edges) - 1, 0, -COARSE)
    promising = coarse[np.argsort(_errors(histogram, edges[coarse]))[:FINALISTS]]
    around = promising[:, None] + np.arange(-COARSE, COARSE + 1)
    fine = np.unique(around.clip(1, len(edges) - 1))
    best = edges[fine[np.argmin(_errors(histogram, edges[fine]))]]
    return min(float(best), histogram.amax)


def _errors(histogram: Histogram, amaxes: np.ndarray, centres: np.ndarray | float = 0.0) -> np.ndarray:
    centres = np.broadcast_to(centres, amaxes.shape)
    chunks = (slice(i, i + CHUNK) for i in range(0, len(amaxes), CHUNK))
    parts = [squared_error(histogram, amaxes[chunk], centres[chunk]) for chunk in chunks]
    return np.concatenate(parts)
