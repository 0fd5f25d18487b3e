"""The range with the least mean squared quantization error."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from stablequant.quantization.histograms import Histogram, mirrored
from stablequant.quantization.int8 import QMAX, Range, between_levels, on_level
from stablequant.quantization.ranges import percentile_amax, percentile_range, range_between, range_up_to

CHUNK = 256  # candidate ranges evaluated at once, to limit memory
FINE, FINER = 64, 16  # symmetric ranges tried per octave, and how many times finer the search is around the best
FINALISTS = 8  # candidates that are searched around
ENDS = 8  # candidates per octave for each end of a range with its own centre
NARROW = 2.0**-20  # width of the bin of clipped values, as a share of the range
ROUNDS = 4  # rounds of finer search around the best two ends
OCTAVES = (
    16  # how much smaller candidates get; for a smaller range, the largest of 2^32 values would have to be clipped
)


def squared_error(histogram: Histogram, amaxes: np.ndarray, centres: np.ndarray | float = 0.0) -> np.ndarray:
    """Mean squared error, ``(candidates,)``, when the values of ``histogram`` are quantized to each candidate range.

    ``amaxes`` ``(candidates,)`` are half the widths of the ranges. ``centres`` are their centres, ``(candidates,)`` or
    one number. The values in a bin are assumed to be uniformly distributed. The error includes rounding and clamping
    and is integrated exactly. With y = x - centre, step s, and n(y) = round(y / s) clamped to -127 .. 127, it is the
    mean of y^2 - 2 s n(y) y + s^2 n(y)^2. Level n + 1 begins at y = (n + 1/2) s. So the sums of n(y) y and n(y)^2 over
    all values are sums over the 254 limits between levels, each of what lies below it.
    """
    steps = np.asarray(amaxes, dtype=np.float64) / QMAX
    shifts = np.broadcast_to(np.asarray(centres, dtype=np.float64), steps.shape)
    levels = np.arange(-QMAX, QMAX)  # below each limit
    limits = shifts[:, None] + (levels + 0.5) * steps[:, None]
    counts, sums = histogram.below(limits), histogram.below(limits, 1)
    whole_count, whole_sum, whole_square = (sums[-1] for sums in histogram.sums)
    square = whole_square - 2 * shifts * whole_sum + shifts**2 * whole_count
    by_level = QMAX * (whole_sum - shifts * whole_count) - (sums - shifts[:, None] * counts).sum(axis=1)
    squared_level = QMAX**2 * whole_count - counts @ (2 * levels + 1)
    error: np.ndarray = (square - 2 * steps * by_level + steps**2 * squared_level) / whole_count
    return error


def clip(histogram: Histogram, low: float, high: float) -> Histogram:
    """The histogram after clipping to ``low`` .. ``high``.

    Values beyond are counted in a very narrow bin at the end. A bin that is cut keeps the share inside.
    """
    low, high = max(low, histogram.low), min(high, histogram.high)
    narrow = (high - low) * NARROW
    inside = histogram.edges[(histogram.edges > low + narrow) & (histogram.edges < high - narrow)]
    lows = [low, low + narrow] if low > histogram.low else [low]
    highs = [high - narrow, high] if high < histogram.high else [high]
    edges = np.concatenate([lows, inside, highs])
    counts = np.diff(histogram.below(edges[1:-1]), prepend=0, append=histogram.total)
    return replace(histogram, counts=counts, edges=edges)


def mse_range(histogram: Histogram, percentile: float = 100) -> Range:
    """The range with the least mean squared error over the histogram clipped at ``percentile`` (in percent).

    For magnitudes it is symmetric, see `mse_amax`. For signed values both ends are searched, see `_mse_ends`. If the
    activation is split, the range is the clipped one: smaller ranges bring no gain.
    """
    if histogram.split or histogram.amax == 0:
        return percentile_range(histogram, percentile)
    if not histogram.signed:
        return range_up_to(histogram, mse_amax(clip(histogram, 0.0, percentile_amax(histogram, percentile))))
    cut = percentile_range(histogram, percentile)
    return range_between(histogram, *_mse_ends(clip(histogram, cut.low, cut.high), cut.zero_level))


def mse_amax(histogram: Histogram) -> float:
    """The amax that gives the least mean squared error over a histogram of magnitudes; 0 if all values are 0.

    Candidates are the largest magnitude and what is smaller by powers of 2^(1 / `FINE`), as far as clamping alone does
    not lose more than the range of all values loses. Then the search is finer around the best `FINALISTS`.
    """
    if histogram.amax == 0:
        return 0.0
    amaxes = histogram.amax * 2.0 ** (-np.arange(OCTAVES * FINE) / FINE)
    possible = _clamping(histogram, amaxes) <= squared_error(histogram, amaxes[:1])
    amaxes = amaxes[: max(1, np.count_nonzero(possible))]
    finalists = amaxes[np.argsort(_errors(histogram, amaxes), kind="stable")[:FINALISTS]]
    around = (finalists[:, None] * 2.0 ** (np.arange(-FINER, FINER + 1) / (FINE * FINER))).ravel()
    around = np.minimum(around, histogram.amax)
    return float(around[np.argmin(_errors(histogram, around))])


def _mse_ends(histogram: Histogram, zero_level: bool) -> tuple[float, float]:
    """The two ends that give the least mean squared error over a histogram of signed values.

    Candidates are the outermost values and what is nearer to the mean by powers of 2^(1 / `ENDS`), as far as clamping
    alone does not lose more than the range of all values loses. Then the search is finer around the best pair.
    """
    place = on_level if zero_level else between_levels

    def errors(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        amaxes = (highs - lows) / 2
        return _errors(histogram, amaxes, place(lows + highs, amaxes / QMAX))

    mean = float(histogram.sums[1][-1] / histogram.sums[0][-1])
    nearer = 2.0 ** (-np.arange(OCTAVES * ENDS) / ENDS)
    lows, highs = mean - (mean - histogram.low) * nearer, mean + (histogram.high - mean) * nearer
    limit = errors(lows[:1], highs[:1])
    lows = lows[: max(1, np.count_nonzero(_clamping(mirrored(histogram), -lows) <= limit))]
    highs = highs[: max(1, np.count_nonzero(_clamping(histogram, highs) <= limit))]
    low, high = _best_ends(errors, lows, highs)
    ratio = 2.0 ** (1 / ENDS)
    for _ in range(ROUNDS):
        closer = ratio ** (np.arange(-4, 5) / 4)
        low, high = _best_ends(
            errors,
            (mean - (mean - low) * closer).clip(min=histogram.low),
            (mean + (high - mean) * closer).clip(max=histogram.high),
        )
        ratio **= 1 / 4
    return low, high


def _best_ends(
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray], lows: np.ndarray, highs: np.ndarray
) -> tuple[float, float]:
    """The pair of one of ``lows`` and one of ``highs`` with the least of ``errors``."""
    low, high = (ends.ravel() for ends in np.meshgrid(lows, highs))
    best = int(np.argmin(errors(low, high)))
    return float(low[best]), float(high[best])


def _clamping(histogram: Histogram, limits: np.ndarray) -> np.ndarray:
    """Mean squared error of clamping values above each of ``limits`` to it, in the shape of ``limits``."""
    beyond = [sums[-1] - histogram.below(limits, power) for power, sums in enumerate(histogram.sums)]
    error: np.ndarray = (beyond[2] - 2 * limits * beyond[1] + limits**2 * beyond[0]) / histogram.sums[0][-1]
    return error


def _errors(histogram: Histogram, amaxes: np.ndarray, centres: np.ndarray | float = 0.0) -> np.ndarray:
    """`squared_error` of many candidates, `CHUNK` at a time."""
    centres = np.broadcast_to(centres, amaxes.shape)
    chunks = (slice(i, i + CHUNK) for i in range(0, len(amaxes), CHUNK))
    parts = [squared_error(histogram, amaxes[chunk], centres[chunk]) for chunk in chunks]
    return np.concatenate(parts)
