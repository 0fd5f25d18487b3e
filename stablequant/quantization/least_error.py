"""The range with the least mean squared quantization error."""

import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import QMAX, Range, between_levels
from stablequant.quantization.ranges import percentile_amax, percentile_range

CHUNK = 256  # candidate ranges evaluated at once, to limit memory
COARSE, FINALISTS = 8, 8  # edges per step of the coarse search, and candidates that are searched finely
FRACTIONS = np.linspace(0, 0.95, 20)  # candidate ends: fractions of the way from an end of the values to their mean
ROUNDS = 3  # rounds of finer search around the best two ends


def squared_error(histogram: Histogram, amaxes: np.ndarray, centres: np.ndarray | float = 0.0) -> np.ndarray:
    """Mean squared error, ``(candidates,)``, when the values of ``histogram`` are quantized to each candidate range.

    ``amaxes`` ``(candidates,)`` are half the widths of the ranges. ``centres`` are their centres, ``(candidates,)`` or
    one number. The values in a bin are assumed to be uniformly distributed. The error includes rounding and clamping
    and is integrated exactly: with step s and n = round(t / s), clamped to -127 .. 127, the integral of (u - Q(u))^2
    from 0 to t is n s^3 / 12 + (t - n s)^3 / 3.
    """
    step = np.asarray(amaxes, dtype=np.float64)[:, None] / QMAX
    edges = histogram.edges[None, :] - np.reshape(centres, (-1, 1))
    nearest = np.clip(np.rint(edges / step), -QMAX, QMAX)
    integral = nearest * step**3 / 12 + (edges - nearest * step) ** 3 / 3
    error: np.ndarray = np.diff(integral, axis=1) @ (histogram.counts / histogram.counts.sum()) / histogram.width
    return error


def clip(histogram: Histogram, amax: float) -> Histogram:
    """The histogram after clipping to ``amax``: larger magnitudes are counted in the last bin."""
    kept = min(len(histogram.counts), max(1, round(amax / histogram.width))) if histogram.width else 1
    counts = histogram.counts[:kept].copy()
    counts[-1] += histogram.counts[kept:].sum()
    return Histogram(counts, histogram.width, min(histogram.amax, amax))


def mse_range(histogram: Histogram, percentile: float = 100) -> Range:
    """The range with the least mean squared error over the histogram clipped at ``percentile`` (in percent).

    For magnitudes it is symmetric, see `mse_amax`. For signed values both ends are searched. If the activation is
    split, the range is the clipped one: smaller ranges bring no gain.
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
    """The histogram of signed values after clipping to ``ends``. The ends must lie on edges of bins, or outside."""
    if not histogram.width:
        return histogram
    start = int(np.clip(round(ends.low / histogram.width) - histogram.start, 0, len(histogram.counts) - 1))
    stop = int(np.clip(round(ends.high / histogram.width) - histogram.start, start + 1, len(histogram.counts)))
    counts = histogram.counts[start:stop].copy()
    counts[0] += histogram.counts[:start].sum()
    counts[-1] += histogram.counts[stop:].sum()
    return Histogram(counts, histogram.width, max(abs(ends.low), abs(ends.high)), histogram.start + start)


def mse_amax(histogram: Histogram) -> float:
    """The edge of a bin that, as amax, gives the least mean squared error; 0 if all values are 0.

    Every `COARSE`-th edge is tried first, then all edges around the best `FINALISTS`. The error is smooth enough for
    this.
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
    """`squared_error` of many candidates, `CHUNK` at a time."""
    centres = np.broadcast_to(centres, amaxes.shape)
    chunks = (slice(i, i + CHUNK) for i in range(0, len(amaxes), CHUNK))
    parts = [squared_error(histogram, amaxes[chunk], centres[chunk]) for chunk in chunks]
    return np.concatenate(parts)
