"""The range of least mean squared quantization error."""

import numpy as np

from stablequant.histograms import Histogram
from stablequant.quantization import QMAX

CHUNK = 256  # candidate ranges evaluated at once
COARSE, FINALISTS = 8, 8


def squared_error(histogram: Histogram, amaxes: np.ndarray) -> np.ndarray:
    """Mean squared error, ``(candidates,)``, of quantizing the histogram's values to each range of ``amaxes``.

    Inside a bin the values are taken as spread evenly, and the error, rounding as well as clamping, is integrated
    exactly: with step s and n = min(round(t / s), 127), the integral of (u - Q(u))^2 from 0 to t is
    n s^3 / 12 + (t - n s)^3 / 3.
    """
    step = np.asarray(amaxes, dtype=np.float64)[:, None] / QMAX
    edges = histogram.edges[None, :]
    nearest = np.minimum(np.rint(edges / step), QMAX)
    integral = nearest * step**3 / 12 + (edges - nearest * step) ** 3 / 3
    return np.diff(integral, axis=1) @ (histogram.counts / histogram.counts.sum()) / histogram.width


def clip(histogram: Histogram, amax: float) -> Histogram:
    """The histogram of the values clipped to ``amax``: what lay beyond is counted in the last bin kept."""
    kept = min(len(histogram.counts), max(1, round(amax / histogram.width))) if histogram.width else 1
    counts = histogram.counts[:kept].copy()
    counts[-1] += histogram.counts[kept:].sum()
    return Histogram(counts, histogram.width, min(histogram.amax, amax))


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


def _errors(histogram: Histogram, amaxes: np.ndarray) -> np.ndarray:
    parts = [squared_error(histogram, amaxes[i : i + CHUNK]) for i in range(0, len(amaxes), CHUNK)]
    return np.concatenate(parts)
