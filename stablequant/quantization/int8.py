"""Symmetric INT8: one scale per activation tensor, and one scale per output channel of a weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

QMIN, QMAX = -128, 127


def scale_of(amax: np.ndarray | float) -> np.ndarray:
    """Scale of a quantizer, which is the step between two levels: amax / 127 in float32, in the shape of ``amax``.

    It is 1 where ``amax`` is 0.
    """
    scale = np.asarray(amax, dtype=np.float32) / np.float32(QMAX)
    return np.where(scale > 0, scale, np.float32(1))


def between_levels(ends: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray | float:
    """Centre of a range for which 0 lies in the middle between two levels.

    ``ends`` is the sum of the ends of the range. The middle of the range is moved by at most half a step, ``scale``.
    """
    return (np.floor(ends / 2 / scale) + 0.5) * scale


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round ``weight`` ``(outputs, ...)`` to the nearest INT8 levels.

    Returns the levels, int8 of the same shape, and the scales, float32 ``(outputs,)``.
    """
    scales = scale_of(np.abs(weight).reshape(len(weight), -1).max(axis=1))
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-QMAX, QMAX).astype(np.int8), scales


def dequantized(levels: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The weight that ``levels`` and ``scales`` of `quantize_weight` represent, float32 in the shape of ``levels``."""
    weight: np.ndarray = levels * scales.reshape(-1, *[1] * (levels.ndim - 1))
    return weight


def on_level(ends: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray | float:
    """Centre of a range for which 0 is a level.

    ``ends`` is the sum of the ends of the range. The middle of the range is moved by at most half a step, ``scale``.
    """
    return np.rint(ends / 2 / scale) * scale


@dataclass(frozen=True)
class Carried:
    """Channels that reach so far that they are quantized apart from the rest of their activation, as two INT8 numbers.

    The product of the rest reads zeros in their place. Two more products read only these channels: one the coarse
    numbers, one what these leave.

    Attributes
    ----------
    channels: indices of the channels, ascending
    amax: their largest magnitude, in the unit of the activation after division by its channel scales
    """

    channels: tuple[int, ...]
    amax: float

    @property
    def range(self) -> "Range":
        """The range of the two INT8 numbers."""
        return Range.symmetric(self.amax, split=True)


@dataclass(frozen=True)
class Range:
    """The range of an activation that INT8 represents: `QMAX` steps on each side of the centre.

    The range is that of the activation after division by its channel scales. If the centre is not 0, the engine
    subtracts it first and adds its product with the weights to the bias, so the integers need no zero point. Such a
    centre is chosen so that 0 lies in the middle between two levels. Then the many small values keep their signs, which
    carry most of their information. If many values are exactly 0, as after ReLU, each would be a tie half a step away
    from either level, so 0 is a level instead. A symmetric range has the centre 0, and 0 is a level.

    Attributes
    ----------
    low, high: ends of the range, in the unit of the activation
    split: whether the rounding error is quantized too; then two INT8 numbers together have the steps of a 16-bit
        number, and the centre must be 0
    zero_level: whether 0 is a level although the centre is not 0
    carried: channels that this range is not for, because they are quantized apart; None if there are none
    """

    low: float
    high: float
    split: bool = False
    zero_level: bool = False
    carried: Carried | None = None

    @classmethod
    def symmetric(cls, amax: float, split: bool = False, carried: Carried | None = None) -> "Range":
        """The range from -``amax`` to ``amax``."""
        return cls(-amax, amax, split, carried=carried)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Range":
        """The range in a row of ``scales/{method}.json``, by column."""
        channels = tuple(row["carried"])
        carried = Carried(channels, row["carried_amax"]) if channels else None
        return cls(row["low"], row["high"], row["split"], row["zero_level"], carried)

    @property
    def amax(self) -> float:
        """Half of the width of the range."""
        return (self.high - self.low) / 2

    @property
    def centre(self) -> float:
        """The middle of the range, moved by at most half a step (see `zero_level`), rounded to float32."""
        if self.low == -self.high:
            return 0.0
        place = on_level if self.zero_level else between_levels
        return float(np.float32(place(self.low + self.high, self.scale)))

    @property
    def scale(self) -> float:
        """The step between two levels, rounded to float32."""
        return float(scale_of(self.amax))

    @property
    def rest_scale(self) -> float:
        """With ``split``, the scale of the rounding error (at most half a step), rounded to float32."""
        return float(scale_of(self.scale / 2))
