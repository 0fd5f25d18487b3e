"""The arithmetic of symmetric INT8: one scale per activation tensor, one per output channel of a weight."""

import numpy as np

QMIN, QMAX = -128, 127


def scale_of(amax: np.ndarray | float) -> np.ndarray:
    """Step of one quantization level, float32: amax / 127, and 1 where nothing but zero was seen."""
    scale = np.asarray(amax, dtype=np.float32) / np.float32(QMAX)
    return np.where(scale > 0, scale, np.float32(1))


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 weight of the same shape and its float32 scales ``(outputs,)``; axis 0 holds the output channels."""
    scales = scale_of(np.abs(weight).reshape(len(weight), -1).max(axis=1))
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-QMAX, QMAX).astype(np.int8), scales
