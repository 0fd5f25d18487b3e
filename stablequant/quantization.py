"""The arithmetic of symmetric INT8: one scale per activation tensor, one per output channel of a weight."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Range:
    """The values of an activation that INT8 represents: `QMAX` steps to either side of the centre.

    Around a centre other than 0 the engine subtracts it first and adds its product with the weights to the bias, so
    that the integers themselves need no zero point.
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
        return float(np.float32((self.low + self.high) / 2))

    @property
    def scale(self) -> float:
        """Step of one level, rounded to float32."""
        return float(scale_of(self.amax))
