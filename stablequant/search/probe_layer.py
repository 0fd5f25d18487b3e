"""Probe layers: measure the degradation when only one layer is quantized."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stablequant.quantization.int8 import Range
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.racing import Racing
from stablequant.search.trials import Calibration, Experiment, Outcome, Trial, run_trials


@dataclass(frozen=True)
class Probe(Outcome):
    """What was measured with only one layer quantized.

    Attributes
    ----------
    above: decision of racing whether the degradation exceeds the threshold; None if all audio was recognised, so that
        the degradation itself decides
    """

    above: bool | None = None


def probe_layers(
    recogniser: Recogniser,
    modules: Sequence[QuantizedModule],
    layers: Sequence[str],
    ranges: Mapping[str, Range],
    calibration: Calibration,
    threshold: float,
    racing: Racing | None = None,
) -> list[Probe]:
    """Recognise the calibration set once per layer of ``layers``, with only this layer quantized.

    ``ranges`` are by activation name. With ``racing``, a layer stops early when its degradation is clearly above or
    below ``threshold`` (percentage points).
    """
    words = calibration.reference.errors.words
    decisions: dict[str, bool | None] = {}

    def race(racing: Racing, layer: str, trials: list[Trial]) -> bool:
        (trial,) = trials
        difference = trial.errors.errors - trial.reference.errors
        decisions[layer] = racing.above(difference, len(words) - len(difference), threshold / 100 * words.sum())
        return decisions[layer] is not None

    experiments = [
        Experiment(
            [m for m in modules if m.layer == layer],
            [Trial(ranges, calibration)],
            partial(race, racing, layer) if racing else None,
        )
        for layer in layers
    ]
    run_trials(recogniser, experiments, calibration)
    return [Probe(**vars(e.trials[0].outcome()), above=decisions.get(e.layer)) for e in experiments]
