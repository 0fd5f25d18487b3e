"""The arithmetic of symmetric INT8: one scale per activation tensor, one per output channel of a weight."""

from dataclasses import dataclass

import numpy as np

QMIN, QMAX = -128, 127


def scale_of(amax: np.ndarray | float) -> np.ndarray:
    """Step of one quantization level, float32: amax / 127, and 1 where nothing but zero was seen."""
    scale = np.asarray(amax, dtype=np.float32) / np.float32(QMAX)
    return np.where(scale > 0, scale, np.float32(1))


def aligned(centre: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray | float:
    """``centre`` moved by at most half a step, so that 0 is represented."""
    return np.rint(centre / scale) * scale


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 weight of the same shape and its float32 scales ``(outputs,)``; axis 0 holds the output channels."""
    scales = scale_of(np.abs(weight).reshape(len(weight), -1).max(axis=1))
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-QMAX, QMAX).astype(np.int8), scales


@dataclass(frozen=True)
class Range:
    """The values of an activation that INT8 is to represent: `QMAX` steps to either side of the centre.

    Around a centre other than 0 the engine subtracts it first and adds its product with the weights to the bias, so
    that the integers themselves need no zero point. The centre is a whole number of steps from 0, which is therefore
    represented exactly: were it not, the many values around 0 would all be off in the same direction.
    """

    low: float
    high: float

    @classmethod
    def symmetric(cls, amax: float) -> "Range":
        return cls(-amax, amax)

    @property
    def amax(self) -> float:
        """Half of the range's width."""
        return (self.high - self.low) / 2

    @property
    def centre(self) -> float:
        """The middle, to the nearest step, rounded to float32."""
        return float(np.float32(aligned((self.low + self.high) / 2, self.scale)))

    @property
    def scale(self) -> float:
        """Step of one level, rounded to float32."""
        return float(scale_of(self.amax))
