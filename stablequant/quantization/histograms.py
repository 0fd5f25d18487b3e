"""Histograms of activations: of their magnitudes, or of their values with signs."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stablequant.quantization.int8 import Carried
from stablequant.storage.files import read_tensors, replacing

UNCLIPPED = 100.0  # percentile that clips nothing
TINIEST = 2.0**-149  # the smallest float32 above 0


@dataclass(frozen=True)
class Histogram:
    """How often each magnitude, or each value with its sign, occurred.

    The bins may have different widths. Inside a bin, values are assumed to be uniformly distributed. Exact zeros have a
    bin of their own, from 0 to `TINIEST`.

    Attributes
    ----------
    counts: int64 ``(bins,)``, or float64 after clipping; bin i counts the values from ``edges[i]`` to ``edges[i + 1]``
    edges: float64 ``(bins + 1,)``, ascending, in the unit of the activation. The last edge is the exact maximum if it
        is above 0; with signs, the first edge is the exact minimum if it is below 0.
    signed: whether values were counted with their signs
    split: whether the activation will be quantized as two numbers, see `stablequant.quantization.int8.Range`
    carried: channels whose values were not counted, because they will be quantized apart; None if there are none
    """

    counts: np.ndarray
    edges: np.ndarray
    signed: bool = False
    split: bool = False
    carried: Carried | None = None

    @property
    def low(self) -> float:
        """Lower end of the values: the first edge."""
        return float(self.edges[0])

    @property
    def high(self) -> float:
        """Upper end of the values: the last edge, or 0 if no value is above 0."""
        return float(self.edges[-1]) if self.edges[-1] > TINIEST else 0.0

    @property
    def amax(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def total(self) -> int:
        """Number of values."""
        return round(float(self.counts.sum()))

    @property
    def zeros(self) -> int:
        """Number of exact zeros."""
        return round(float(self.counts[(self.edges[:-1] == 0) & (self.edges[1:] == TINIEST)].sum()))

    def below(self, values: np.ndarray, power: int = 0) -> np.ndarray:
        """Sum of x^``power`` over all x of the histogram below each of ``values``, float64 in their shape.

        ``power`` 0 gives the number of values. Values inside the bin of a limit count in part, and so do their powers.
        """
        limits = np.clip(values, self.edges[0], self.edges[-1])
        bins = np.searchsorted(self.edges[1:-1], limits, side="right")
        inside = (limits ** (power + 1) - self.edges[bins] ** (power + 1)) / (power + 1)
        found: np.ndarray = self.sums[power][bins] + self._densities[bins] * inside
        return found

    @cached_property
    def _densities(self) -> np.ndarray:
        """Values per unit in each bin, float64 ``(bins,)``."""
        densities: np.ndarray = self.counts / np.diff(self.edges)
        return densities

    @cached_property
    def sums(self) -> list[np.ndarray]:
        """Sums of the powers 0, 1 and 2 of all values below each edge, float64 ``(bins + 1,)`` each."""
        low, high = self.edges[:-1], self.edges[1:]
        means = [np.ones(len(self.counts)), (low + high) / 2, (low**2 + low * high + high**2) / 3]
        return [np.concatenate([[0], np.cumsum(self.counts * mean)]) for mean in means]

    def rebinned(self, bins: int) -> "Histogram":
        """The histogram in ``bins`` bins of the same width, from 0 to `amax`, or from `low` to `high` with signs.

        A value that might lie in several of the new bins is counted in one of them. The number of values below an edge
        of the new bins is rounded to a whole number.
        """
        edges = np.linspace(self.low if self.signed else 0.0, self.high, bins + 1)
        below = np.rint(self.below(edges[1:-1]))
        counts = np.diff(below, prepend=0, append=self.total).astype(np.int64)
        return replace(self, counts=counts, edges=edges)


def mirrored(histogram: Histogram) -> Histogram:
    """The histogram of the same values with the other sign. Zeros lie in a bin below 0 then."""
    return replace(histogram, counts=histogram.counts[::-1], edges=-histogram.edges[::-1])


def save_histograms(path: Path, histograms: dict[str, Histogram]) -> None:
    """Write histograms by activation name, as they were collected.

    The tensors are ``{activation}/counts`` (int64) and ``/edges`` (float32, which is exact for collected histograms),
    and ``/signed`` and ``/split`` if they are set. For carried channels, ``/carried`` (int64) are their indices and
    ``/carried_amax`` (float64) is their largest magnitude.
    """
    tensors = {}
    for name, histogram in histograms.items():
        tensors[f"{name}/counts"] = histogram.counts
        tensors[f"{name}/edges"] = histogram.edges.astype(np.float32)
        for mark in ("signed", "split"):
            if getattr(histogram, mark):
                tensors[f"{name}/{mark}"] = np.array([True])
        if histogram.carried:
            tensors[f"{name}/carried"] = np.array(histogram.carried.channels, dtype=np.int64)
            tensors[f"{name}/carried_amax"] = np.array([histogram.carried.amax], dtype=np.float64)
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_histograms(path: Path) -> dict[str, Histogram]:
    """Read what `save_histograms` wrote; raise `StableQuantError` if the file is damaged."""
    tensors = read_tensors(path)

    def carried(name: str) -> Carried | None:
        channels = tensors.get(f"{name}/carried")
        return (
            None if channels is None else Carried(tuple(channels.tolist()), float(tensors[f"{name}/carried_amax"][0]))
        )

    return {
        name: Histogram(
            tensors[f"{name}/counts"],
            tensors[f"{name}/edges"].astype(np.float64),
            f"{name}/signed" in tensors,
            f"{name}/split" in tensors,
            carried(name),
        )
        for name in sorted({key.rsplit("/", 1)[0] for key in tensors})
    }
