"""Samples of some distributions, and their histograms."""

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


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal values, float64."""
    return np.random.default_rng(seed).standard_normal(shape)
