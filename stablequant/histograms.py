"""Histograms of activation magnitudes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from stablequant.files import replacing


@dataclass(frozen=True)
class Histogram:
    """How often each magnitude was seen.

    Attributes
    ----------
    counts: int64 ``(bins,)``; bin i holds magnitudes from ``i * width`` to ``(i + 1) * width``
    width: width of one bin, in the unit of the activation
    amax: the largest magnitude seen, exactly
    """

    counts: np.ndarray
    width: float
    amax: float

    @property
    def edges(self) -> np.ndarray:
        """float64 ``(bins + 1,)``, from 0."""
        return np.arange(len(self.counts) + 1) * self.width


def save_histograms(path: Path, histograms: dict[str, Histogram]) -> None:
    tensors = {}
    for name, histogram in histograms.items():
        tensors[f"{name}/counts"] = histogram.counts
        tensors[f"{name}/width"] = np.array([histogram.width])
        tensors[f"{name}/amax"] = np.array([histogram.amax])
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_histograms(path: Path) -> dict[str, Histogram]:
    tensors = load_file(path)
    return {
        name: Histogram(
            tensors[f"{name}/counts"], tensors[f"{name}/width"][0].item(), tensors[f"{name}/amax"][0].item()
        )
        for name in sorted({key.rsplit("/", 1)[0] for key in tensors})
    }
