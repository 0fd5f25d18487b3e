"""Samples of some distributions, their histograms, and what quantizing them loses."""

import numpy as np
import torch
from scipy.special import erf

from stablequant.quantization.collecting import HistogramCollector
from stablequant.quantization.histograms import Histogram

SAMPLES = 300_000
NAMES = ["normal", "laplace", "heavy-tailed", "post-gelu"]


def draw(name: str) -> np.ndarray:
    """`SAMPLES` values, float32."""
    rng = np.random.default_rng(1)
    normal = rng.normal(size=SAMPLES)
    values = {
        "normal": normal,
        "laplace": rng.laplace(size=SAMPLES),
        "heavy-tailed": rng.standard_t(3, size=SAMPLES),
        "post-gelu": 2 * normal * 0.5 * (1 + erf(2 * normal / np.sqrt(2))),
    }[name]
    return values.astype(np.float32)


def histogram_of(values: np.ndarray, signed: bool = False) -> Histogram:
    """As a pass over some batches counts them."""
    collector = HistogramCollector(signed)
    for part in np.array_split(values, 7):
        collector.collect(torch.from_numpy(part))
    return collector.histogram()


def binned(values: np.ndarray, width: float, signed: bool = False) -> Histogram:
    """A histogram of fewer bins, all of one width, counted by NumPy."""
    counted = values if signed else np.abs(values)
    first, last = int(np.floor(counted.min() / width)) if signed else 0, int(np.ceil(counted.max() / width))
    counts, edges = np.histogram(counted, bins=np.arange(first, last + 1) * width)
    return Histogram(counts, edges, signed)


def evenly(counts: np.ndarray, width: float, first: int = 0, signed: bool = False) -> Histogram:
    """A histogram of bins of one width, the first of which begins at ``first`` times the width."""
    return Histogram(counts, (first + np.arange(len(counts) + 1)) * width, signed)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal values, float64."""
    return np.random.default_rng(seed).standard_normal(shape)


def quantization_error(values: np.ndarray, weights: np.ndarray, amax: float, centre: float = 0) -> float:
    """Mean squared error of plain fake quantization."""
    step = amax / 127
    levels = np.clip(np.rint((values - centre) / step), -127, 127)
    return float(np.average((levels * step + centre - values) ** 2, weights=weights))


def spread(histogram: Histogram, points: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Many values in every bin, with weights: the histogram as plain samples again."""
    inside = (np.arange(points) + 0.5) / points
    values = histogram.edges[:-1, None] + np.diff(histogram.edges)[:, None] * inside
    return values.ravel(), np.repeat(histogram.counts / points, points)
