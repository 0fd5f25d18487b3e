"""The search's procedure: the paper's steps, and those that are added to them.

The config is read into it once, while the Snakefile is parsed. A step that is off is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PAPER, EXTENDED = "paper", "extended"


@dataclass(frozen=True)
class Equalisation:
    """Channels of an activation are brought to similar ranges, see `stablequant.quantization.channel_scales`.

    Attributes
    ----------
    exponent: the activations' share in a channel's scale, against that of the weights (0 to 1)
    percentile: of a channel's magnitudes, which counts as its range, in percent
    audio_seconds: of calibration audio to measure it on
    """

    exponent: float
    percentile: float
    audio_seconds: float


@dataclass(frozen=True)
class Rounding:
    """Weights are rounded so that their errors cancel over ``audio_seconds`` of calibration audio."""

    audio_seconds: float


@dataclass(frozen=True)
class Combination:
    """All layers are checked together.

    Attributes
    ----------
    audio_seconds: of calibration audio on which the layers that were not searched get a cut-off
    suspects: how many of the most sensitive layers may be searched again
    """

    audio_seconds: float
    suspects: int


@dataclass(frozen=True)
class Procedure:
    """Steps that are added to the paper's.

    Attributes
    ----------
    recentre: whether ranges may lie around another centre than 0
    split_audio: whether the first convolution reads the audio as two INT8 numbers
    """

    recentre: bool = False
    split_audio: bool = False
    equalisation: Equalisation | None = None
    rounding: Rounding | None = None
    combination: Combination | None = None


def read_procedure(config: Mapping[str, Any], name: str) -> Procedure:
    """The procedure ``name``, `PAPER` or `EXTENDED`, of a config that was checked against its schema.

    The paper's has none of the added steps, whatever their blocks say.
    """
    if name == PAPER:
        return Procedure()
    return Procedure(
        recentre=config["recentre"]["enabled"],
        split_audio=config["split_audio"]["enabled"],
        equalisation=_step(Equalisation, config["equalisation"]),
        rounding=_step(Rounding, config["rounding"]),
        combination=_step(Combination, config["combination"]),
    )


def _step(kind: type[Any], block: Mapping[str, Any]) -> Any:
    """A block of the config as its dataclass, None where it is not enabled."""
    return kind(**{f.name: block[f.name] for f in fields(kind)}) if block["enabled"] else None
