"""Channels of an activation brought to similar ranges, so that one scale fits them all; the next weights undo it.

The activation's channels are divided by a scale each, and the weights that read it are multiplied by the same, which
changes nothing in floating point. As in SmoothQuant (Xiao et al., ICML 2023) the scale is a compromise between
the channel's extent and its weights', but the extent is a percentile over all utterances, which few spikes do not move.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stablequant.storage.files import read_tensors, replacing

SMALLEST = 1e-5  # of the largest extent: channels below count as that, a dead one must not become a division by zero


def channel_scales(extents: np.ndarray, weights: Sequence[np.ndarray], groups: int, exponent: float) -> np.ndarray:
    """extent^exponent / weight^(1 - exponent) of every channel, float32 ``(channels,)``, with a geometric mean of 1.

    ``extents`` ``(channels,)`` are the channels' magnitudes; ``weights`` ``(outputs, channels / groups, ...)`` are all
    that read them, of which the largest magnitude counts.
    """
    largest = np.max([_largest(weight, groups) for weight in weights], axis=0)
    scales = _floored(extents) ** exponent / _floored(largest) ** (1 - exponent)
    return (scales / np.exp(np.log(scales).mean())).astype(np.float32)


def _largest(weight: np.ndarray, groups: int) -> np.ndarray:
    """Largest magnitude of the weights of every input channel, ``(channels,)``."""
    grouped = np.abs(weight).reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return grouped.max(axis=(1, 3)).reshape(-1)


def _floored(magnitudes: np.ndarray) -> np.ndarray:
    largest = magnitudes.max()
    return np.maximum(magnitudes.astype(np.float64), SMALLEST * largest) if largest > 0 else np.ones(len(magnitudes))


def equalised_weight(weight: np.ndarray, scales: np.ndarray, groups: int) -> np.ndarray:
    """``weight`` ``(outputs, channels / groups, ...)`` for an input that was divided by ``scales`` ``(channels,)``."""
    per_group = scales.reshape(groups, 1, weight.shape[1], 1)
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return (grouped * per_group).reshape(weight.shape)


def save_scales(path: Path, scales: Mapping[str, np.ndarray]) -> None:
    """Write scales by activation name; none at all where channels are not equalised."""
    with replacing(path) as temporary:
        save_file(dict(scales), temporary)


def load_scales(path: Path) -> dict[str, np.ndarray]:
    return read_tensors(path)
