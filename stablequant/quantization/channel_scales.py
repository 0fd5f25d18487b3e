"""Scales that bring the channels of an activation to similar ranges, so that one quantization scale fits all of them.

Each channel of the activation is divided by its scale. The weights that read the channel are multiplied by the same
scale, so nothing changes in floating point. As in SmoothQuant (Xiao et al., ICML 2023), the scale is a compromise
between the range of the channel and the range of its weights. Here the range of the channel is a percentile over all
utterances, which does not depend on a few outliers. Two limits keep a channel that is nearly always silent from being
enlarged so much that nothing else fits into the range when it is active, see `extents_of` and `channel_scales`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stablequant.storage.files import read_tensors, replacing

SMALLEST = 1e-5  # smallest weight of a channel, as a fraction of the largest; it avoids a division by zero
QUIETEST = 0.1  # smallest product of a channel's extent and weight, as a fraction of their median
REACH = 4.0  # the extent of a channel is at least its largest magnitude divided by this


def extents_of(percentiles: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Extents of channels, ``(channels,)``, from a percentile and the maximum of each channel's magnitudes.

    The extent is the percentile, but not less than the maximum divided by `REACH`. Otherwise the percentile of a
    channel that is active in few frames would be near 0, and its values would be enlarged without limit. For this, no
    maximum counts as larger than the largest percentile, so that one spike does not make the rest of its channel
    disappear. Of a channel that was silent nothing is known; it gets the median of the others.
    """
    extents: np.ndarray = np.maximum(percentiles, np.minimum(maxima, percentiles.max()) / REACH)
    active = extents > 0
    return np.where(active, extents, np.median(extents[active])) if active.any() else extents


def channel_scales(extents: np.ndarray, weights: Sequence[np.ndarray], groups: int, exponent: float) -> np.ndarray:
    """Scale of every channel, float32 ``(channels,)``: extent^exponent / weight^(1 - exponent).

    The scales are normalised to a geometric mean of 1. ``extents`` ``(channels,)`` are the ranges of the channels, see
    `extents_of`. ``weights`` are all weights that read the activation, ``(outputs, channels / groups, ...)`` each. For
    each channel their largest magnitude counts. ``exponent`` is from 0 to 1.

    Rounding adds noise to the outputs in proportion to the product of scale and weight. If a channel's product of
    extent and weight is below `QUIETEST` of the median product, its extent is raised to that: it adds hardly any noise
    then, and need not be enlarged further.
    """
    largest = _floored(np.max([_largest(weight, groups) for weight in weights], axis=0))
    products = extents.astype(np.float64) * largest
    limited = np.maximum(products, QUIETEST * np.median(products)) / largest
    if not limited.all():
        limited = _floored(extents)
    scales = limited**exponent / largest ** (1 - exponent)
    normalised: np.ndarray = scales / np.exp(np.log(scales).mean())
    return normalised.astype(np.float32)


def _largest(weight: np.ndarray, groups: int) -> np.ndarray:
    """Largest magnitude of the weights of every input channel, ``(channels,)``."""
    grouped = np.abs(weight).reshape(groups, len(weight) // groups, weight.shape[1], -1)
    largest: np.ndarray = grouped.max(axis=(1, 3))
    return largest.reshape(-1)


def _floored(magnitudes: np.ndarray) -> np.ndarray:
    """``magnitudes`` ``(channels,)``, at least `SMALLEST` of the largest; ones if all are zero."""
    largest = magnitudes.max()
    return np.maximum(magnitudes.astype(np.float64), SMALLEST * largest) if largest > 0 else np.ones(len(magnitudes))


def equalised_weight(weight: np.ndarray, scales: np.ndarray, groups: int) -> np.ndarray:
    """``weight`` ``(outputs, channels / groups, ...)`` for an input that was divided by ``scales`` ``(channels,)``."""
    per_group = scales.reshape(groups, 1, weight.shape[1], 1)
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    scaled: np.ndarray = grouped * per_group
    return scaled.reshape(weight.shape)


def save_channel_scales(path: Path, scales: Mapping[str, np.ndarray]) -> None:
    """Write scales, float32 ``(channels,)`` by activation name; ``scales`` is empty if channels are not equalised."""
    with replacing(path) as temporary:
        save_file(dict(scales), temporary)


def load_channel_scales(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_channel_scales` wrote; raise `StableQuantError` if the file is damaged."""
    return read_tensors(path)
