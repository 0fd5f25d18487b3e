"""The arithmetic of symmetric INT8: one scale per activation tensor, one per output channel of a weight."""

from dataclasses import dataclass

import numpy as np

QMIN, QMAX = -128, 127


def scale_of(amax: np.ndarray | float) -> np.ndarray:
    """Step of one quantization level, float32: amax / 127, and 1 where nothing but zero was seen."""
    scale = np.asarray(amax, dtype=np.float32) / np.float32(QMAX)
    return np.where(scale > 0, scale, np.float32(1))


def between_levels(ends: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray | float:
    """Half of ``ends``, a range's ends added up, moved by at most half a step so that 0 lies midway between levels."""
    return (np.floor(ends / 2 / scale) + 0.5) * scale


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 weight of the same shape and its float32 scales ``(outputs,)``; axis 0 holds the output channels."""
    scales = scale_of(np.abs(weight).reshape(len(weight), -1).max(axis=1))
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-QMAX, QMAX).astype(np.int8), scales


def dequantized(levels: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What `quantize_weight`'s result stands for, float32 of the weight's shape."""
    return levels * scales.reshape(-1, *[1] * (levels.ndim - 1))


@dataclass(frozen=True)
class Range:
    """The values of an activation, as scaled by channel, that INT8 is to represent: `QMAX` steps to either side of the
    centre.

    Around a centre other than 0 the engine subtracts it first and adds its product with the weights to the bias, so
    that the integers themselves need no zero point. Such a centre is chosen so that 0 lies midway between two levels:
    then the many small values keep their signs, and with them most of what they say. A range that reaches equally far
    to both sides lies around 0, which is a level then.

    With ``split``, which takes a range around 0, what rounding to the levels leaves is quantized too, and the product
    is computed of both: two INT8 numbers that together have the steps of one of 16 bits.
    """

    low: float
    high: float
    split: bool = False

    @classmethod
    def symmetric(cls, amax: float, split: bool = False) -> "Range":
        return cls(-amax, amax, split)

    @property
    def amax(self) -> float:
        """Half of the range's width."""
        return (self.high - self.low) / 2

    @property
    def centre(self) -> float:
        """The middle, moved by at most half a step, rounded to float32."""
        return 0.0 if self.low == -self.high else float(np.float32(between_levels(self.low + self.high, self.scale)))

    @property
    def scale(self) -> float:
        """Step of one level, rounded to float32."""
        return float(scale_of(self.amax))

    @property
    def rest_scale(self) -> float:
        """With ``split``, the step of what rounding leaves, which is at most half a level, rounded to float32."""
        return float(scale_of(self.scale / 2))
