"""Screen layers: measure on a little audio how far each layer, quantized alone, moves the posteriors."""

from collections.abc import Mapping, Sequence

import numpy as np

from stablequant.quantization.int8 import Range
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.screened import Screened
from stablequant.search.trials import Calibration, Experiment, Trial, run_trials


def screen_layers(
    recogniser: Recogniser,
    modules: Sequence[QuantizedModule],
    ranges: Mapping[str, Range],
    calibration: Calibration,
    audio_seconds: float,
) -> list[Screened]:
    """Recognise ``audio_seconds`` of the calibration set once per layer, with only this layer quantized.

    ``ranges`` are by activation name. The layers come in the order of the recogniser.
    """
    part = calibration.part(audio_seconds)
    experiments = [
        Experiment([m for m in modules if m.layer == layer], [Trial(ranges, part)]) for layer in recogniser.layers
    ]
    run_trials(recogniser, experiments, part)
    return [_screened(experiment) for experiment in experiments]


def _screened(experiment: Experiment) -> Screened:
    (trial,) = experiment.trials
    more = trial.errors.errors - trial.reference.errors
    return {
        "layer": experiment.layer,
        "kind": experiment.modules[0].kind,
        "divergence": trial.divergence,
        "lost": int(np.maximum(more, 0).sum()),
        "words": int(trial.errors.words.sum()),
        "utterances": int(trial.seen.sum()),
    }
