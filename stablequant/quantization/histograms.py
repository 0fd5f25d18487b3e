"""Histograms of activations: of their magnitudes, or of their values with signs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stablequant.storage.files import read_tensors, replacing

UNCLIPPED = 100.0  # percentile that clips nothing


@dataclass(frozen=True)
class Histogram:
    """How often each magnitude, or each value with its sign, occurred.

    Attributes
    ----------
    counts: int64 ``(bins,)``; bin i counts the values from ``(first + i) * width`` to ``(first + i + 1) * width``
    width: width of a bin, in the unit of the activation
    amax: the exact largest magnitude
    first: index of the first bin; bin 0 begins at the value 0; None if magnitudes are counted
    split: whether the activation will be quantized as two numbers, see `stablequant.quantization.int8.Range`
    """

    counts: np.ndarray
    width: float
    amax: float
    first: int | None = None
    split: bool = False

    @property
    def signed(self) -> bool:
        """Whether values were counted with their signs."""
        return self.first is not None

    @property
    def start(self) -> int:
        """Index of the first bin; bin 0 begins at the value 0."""
        return self.first or 0

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, float64 ``(bins + 1,)``, ascending."""
        return np.arange(len(self.counts) + 1) * self.width + self.start * self.width


def save_histograms(path: Path, histograms: dict[str, Histogram]) -> None:
    """Write histograms by activation name.

    The tensors are ``{activation}/counts``, ``/width`` and ``/amax``, and ``/first`` and ``/split`` if they are set.
    """
    tensors = {}
    for name, histogram in histograms.items():
        tensors[f"{name}/counts"] = histogram.counts
        tensors[f"{name}/width"] = np.array([histogram.width])
        tensors[f"{name}/amax"] = np.array([histogram.amax])
        if histogram.first is not None:
            tensors[f"{name}/first"] = np.array([histogram.first])
        if histogram.split:
            tensors[f"{name}/split"] = np.array([True])
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_histograms(path: Path) -> dict[str, Histogram]:
    """Read what `save_histograms` wrote; raise `StableQuantError` if the file is damaged."""
    tensors = read_tensors(path)
    return {
        name: Histogram(
            tensors[f"{name}/counts"],
            tensors[f"{name}/width"][0].item(),
            tensors[f"{name}/amax"][0].item(),
            tensors[f"{name}/first"][0].item() if f"{name}/first" in tensors else None,
            f"{name}/split" in tensors,
        )
        for name in sorted({key.rsplit("/", 1)[0] for key in tensors})
    }
