"""The procedure of the search: the paper's steps, and the steps that we added.

It is read from the config once, while the Snakefile is parsed. A step that is not enabled is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

PAPER, EXTENDED = "paper", "extended"


@dataclass(frozen=True)
class Equalisation:
    """Bring the channels of an activation to similar ranges, see `stablequant.quantization.channel_scales`.

    Attributes
    ----------
    exponent: share of the activation in a channel's scale (0 to 1); the rest is the share of the weights
    percentile: a channel's range is this percentile of its magnitudes, in percent
    audio_seconds: amount of calibration audio on which ranges are measured
    """

    exponent: float
    percentile: float
    audio_seconds: float


@dataclass(frozen=True)
class MassiveChannels:
    """Treat channels apart that reach far beyond the rest, see `stablequant.search.choose_massive_channels`.

    Attributes
    ----------
    channels: numbers of channels that are tried, ascending
    reach: the largest channel must reach at least this many times as far as the rest
    divergence: nats per position that do not matter. Channels are scaled unless another way is better by more. None are
        carried of an activation that costs less when it is quantized alone, and fewer channels may cost this much more.
    gain: share (0 to 1) by which carrying channels must lower the divergence
    audio_seconds: amount of calibration audio on which all this is measured
    """

    channels: Sequence[int]
    reach: float
    divergence: float
    gain: float
    audio_seconds: float


@dataclass(frozen=True)
class Attention:
    """Multiply queries by keys in INT8 where that costs nothing, see `stablequant.search.choose_attention`.

    Attributes
    ----------
    divergence: nats per position that do not matter, added up over the layers that get INT8 scores
    audio_seconds: amount of calibration audio on which this is measured
    """

    divergence: float
    audio_seconds: float


@dataclass(frozen=True)
class Rounding:
    """Round weights so that their errors cancel, measured on ``audio_seconds`` of calibration audio."""

    audio_seconds: float


@dataclass(frozen=True)
class Combination:
    """Check all layers together.

    Attributes
    ----------
    audio_seconds: amount of calibration audio on which the cut-off of the layers that were not searched is chosen
    suspects: number of the most sensitive layers that may be searched again
    """

    audio_seconds: float
    suspects: int


@dataclass(frozen=True)
class Ties:
    """Compare cut-offs by divergence that lie at most ``points`` of WER apart, see `search_percentile.WordTies`."""

    points: float


@dataclass(frozen=True)
class Procedure:
    """The steps that are added to the paper's steps.

    Attributes
    ----------
    recentre: whether the centre of a range may differ from 0
    split_audio: whether the first convolution reads each audio sample as two INT8 numbers
    ties, equalisation, massive_channels, attention, rounding, combination: settings of these steps; None if a step is
        not enabled
    """

    recentre: bool = False
    split_audio: bool = False
    ties: Ties | None = None
    equalisation: Equalisation | None = None
    massive_channels: MassiveChannels | None = None
    attention: Attention | None = None
    rounding: Rounding | None = None
    combination: Combination | None = None


Step = TypeVar("Step", Equalisation, MassiveChannels, Attention, Rounding, Combination, Ties)


def read_procedure(config: Mapping[str, Any], name: str) -> Procedure:
    """The procedure ``name`` (`PAPER` or `EXTENDED`). ``config`` was checked against the schema.

    `PAPER` has none of the added steps, even if ``config`` enables them.
    """
    if name == PAPER:
        return Procedure()
    return Procedure(
        recentre=config["recentre"]["enabled"],
        split_audio=config["split_audio"]["enabled"],
        ties=_step(Ties, config["ties"]),
        equalisation=_step(Equalisation, config["equalisation"]),
        massive_channels=_step(MassiveChannels, config["massive_channels"]),
        attention=_step(Attention, config["attention"]),
        rounding=_step(Rounding, config["rounding"]),
        combination=_step(Combination, config["combination"]),
    )


def _step(kind: type[Step], block: Mapping[str, Any]) -> Step | None:
    """A block of the config as its dataclass; None if it is not enabled."""
    return kind(**{f.name: block[f.name] for f in fields(kind)}) if block["enabled"] else None
