"""What quantizing one layer alone costs."""

from collections.abc import Mapping, Sequence
from functools import partial

from stablequant.layers import QuantizedModule
from stablequant.quantization import Range
from stablequant.racing import Racing
from stablequant.stages import Stages
from stablequant.trials import Calibration, Experiment, Outcome, Trial, run_trials


def probe_layers(
    stages: Stages,
    modules: Sequence[QuantizedModule],
    layers: Sequence[str],
    ranges: Mapping[str, Range],
    calibration: Calibration,
    threshold: float,
    racing: Racing | None = None,
) -> list[Outcome]:
    """Recognise the calibration set with each of ``layers`` alone quantized to ``ranges``, by activation name.

    With ``racing`` a layer's audio ends when its degradation is surely above or surely below ``threshold`` points.
    """
    words = calibration.reference.errors.words

    def race(racing: Racing, trials: list[Trial]) -> bool:
        (trial,) = trials
        difference = trial.errors.errors - trial.reference.errors
        return racing.above(difference, len(words) - len(difference), threshold / 100 * words.sum()) is not None

    experiments = [
        Experiment(
            [m for m in modules if m.layer == layer],
            [Trial(ranges, calibration)],
            partial(race, racing) if racing else None,
        )
        for layer in layers
    ]
    run_trials(stages, experiments, calibration)
    return [experiment.trials[0].outcome() for experiment in experiments]
