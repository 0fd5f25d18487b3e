"""The cut-off percentile of a layer whose outliers hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial

import numpy as np
import pandas as pd

from stablequant.histograms import Histogram
from stablequant.layers import QuantizedModule
from stablequant.quantization import Range
from stablequant.racing import Racing
from stablequant.ranges import percentile_range
from stablequant.stages import Stages
from stablequant.trials import Calibration, Experiment, Outcome, Trial, run_trials


@dataclass(frozen=True)
class Candidate:
    """One cut-off tried.

    Attributes
    ----------
    percentile: in percent
    outcome: what was measured with it
    stopped: whether it was given up, being sure to lose, before all audio was recognised
    best: whether it won
    """

    percentile: float
    outcome: Outcome
    stopped: bool = False
    best: bool = False

    def row(self) -> dict:
        return {"percentile": self.percentile, "best": self.best, "stopped": self.stopped, **asdict(self.outcome)}


def search_percentile(
    stages: Stages,
    modules: list[QuantizedModule],
    histograms: Mapping[str, Histogram],
    percentiles: Sequence[float],
    calibration: Calibration,
    racing: Racing | None = None,
) -> list[Candidate]:
    """Measure the layer of ``modules`` clipped at each of ``percentiles``, and mark the best.

    With ``racing`` a cut-off is given up when it can hardly win, and the search ends when one is left.
    """

    def race(racing: Racing, trials: list[Trial]) -> bool:
        errors = np.stack([trial.errors.errors for trial in trials])
        unseen = len(calibration.split.utterances) - errors.shape[1]
        lost = racing.losers(errors, np.array([trial.divergence for trial in trials]), unseen)
        for trial, loses in zip(trials, lost.tolist(), strict=True):
            trial.stopped = loses
        return int(lost.sum()) == len(trials) - 1

    trials = [Trial(clipped(modules, histograms, percentile), calibration) for percentile in percentiles]
    run_trials(stages, [Experiment(modules, trials, partial(race, racing) if racing else None)], calibration)
    candidates = [Candidate(p, trial.outcome(), trial.stopped) for p, trial in zip(percentiles, trials, strict=True)]
    return mark_best(candidates)


def unclipped(sensitivity: pd.DataFrame, layer: str, utterances: int) -> list[Candidate]:
    """The layer at 100 %, which its probe has measured, as a candidate like the others; none where racing ended the
    probe before all ``utterances`` were recognised.

    ``sensitivity`` is ``sensitivity.tsv``; the errors of each utterance stay with the probe.
    """
    (row,) = sensitivity[sensitivity["layer"] == layer].to_dict("records")
    if row["utterances"] < utterances:
        return []
    measured = {f.name: row[f.name] for f in fields(Outcome) if f.name != "errors"}
    return [Candidate(100.0, Outcome(**measured, errors=[]))]


def clipped(
    modules: Sequence[QuantizedModule], histograms: Mapping[str, Histogram], percentile: float
) -> dict[str, Range]:
    """Range of each activation that the layer's modules read, at one cut-off."""
    return {m.activation: percentile_range(histograms[m.activation], percentile) for m in modules}


def mark_best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of the candidates that were not given up the lowest WER; ties go to the lower divergence from fp32, then to the
    higher percentile."""
    running = [c for c in candidates if not c.stopped]
    best = min(running, key=lambda c: (c.outcome.wer, c.outcome.divergence, -c.percentile))
    return [replace(c, best=c is best) for c in candidates]
