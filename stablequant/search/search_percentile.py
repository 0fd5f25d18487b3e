"""The cut-off percentile of a layer whose outliers hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import compress
from typing import Any

import numpy as np

from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import percentile_range
from stablequant.recognisers.family import QuantizedModule, Recogniser
from stablequant.search.racing import Racing
from stablequant.search.trials import Calibration, Experiment, Outcome, Trial, run_trials


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
    recogniser: Recogniser,
    modules: list[QuantizedModule],
    histograms: Mapping[str, Histogram],
    percentiles: Sequence[float],
    calibration: Calibration,
    racing: Racing | None = None,
    known: Sequence[Candidate] = (),
) -> list[Candidate]:
    """Measure the layer of ``modules`` clipped at each of ``percentiles``.

    With ``racing`` a cut-off is given up when it can hardly win, and the search ends when one of several is left, those
    that are ``known`` already, on all utterances, among them.
    """
    known_errors = [np.array(c.outcome.errors) for c in known]
    known_divergences = [np.array(c.outcome.divergences) for c in known]

    def race(racing: Racing, trials: list[Trial]) -> bool:
        seen = trials[0].seen
        errors = np.stack([*(trial.errors.errors for trial in trials), *(errors[seen] for errors in known_errors)])
        divergences = [trial.divergences.sum() for trial in trials]
        divergences += [nats[seen].sum() for nats in known_divergences]
        lost = racing.losers(errors, np.array(divergences), int((~seen).sum()))
        for trial, loses in zip(trials, lost.tolist(), strict=False):
            trial.stopped = loses
        return len(lost) > 1 and int(lost.sum()) == len(lost) - 1

    trials = [Trial(clipped(modules, histograms, percentile), calibration) for percentile in percentiles]
    run_trials(recogniser, [Experiment(modules, trials, partial(race, racing) if racing else None)], calibration)
    return [Candidate(p, trial.outcome(), trial.stopped) for p, trial in zip(percentiles, trials, strict=True)]


def unclipped(probes: Sequence[Mapping[str, Any]], layer: str) -> list[Candidate]:
    """The layer at `UNCLIPPED`, as a candidate like the others; none where racing ended its probe early.

    ``probes`` are what `probe_layers` measured, as it stands in ``sensitivity/{layers}.json``.
    """
    (row,) = [row for row in probes if row["layer"] == layer]
    if None in row["errors"]:
        return []
    return [Candidate(UNCLIPPED, outcome_of(row))]


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The inverse of `asdict`, from a row that may hold more."""
    return Outcome(**{f.name: row[f.name] for f in fields(Outcome)})


def clipped(
    modules: Sequence[QuantizedModule], histograms: Mapping[str, Histogram], percentile: float
) -> dict[str, Range]:
    """Range of each activation that the layer's modules read, at one cut-off."""
    return {m.activation: percentile_range(histograms[m.activation], percentile) for m in modules}


def mark_best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of the candidates that were not given up the fewest word errors, on the utterances that all of them recognised;
    ties go to the lower divergence from fp32 on the same, then to the higher percentile."""
    running = [c for c in candidates if not c.stopped]
    heard_by_all = [None not in errors for errors in zip(*(c.outcome.errors for c in running), strict=True)]

    def rank(candidate: Candidate) -> tuple:
        errors, divergences = candidate.outcome.errors, candidate.outcome.divergences
        return sum(compress(errors, heard_by_all)), sum(compress(divergences, heard_by_all)), -candidate.percentile

    winner = min(running, key=rank)
    return [replace(c, best=c is winner) for c in candidates]
