"""Search the cut-off percentile of a layer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import compress
from typing import TypedDict

import numpy as np

from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import percentile_range
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recogniser
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.racing import Racing
from stablequant.search.trials import Calibration, Experiment, Outcome, Trial, run_trials


@dataclass(frozen=True)
class Candidate:
    """A cut-off that was tried.

    Attributes
    ----------
    percentile: the cut-off in percent
    outcome: what was measured with it
    stopped: whether racing stopped it before all audio was recognised, because it could hardly win
    best: whether it is the best cut-off of the layer
    """

    percentile: float
    outcome: Outcome
    stopped: bool = False
    best: bool = False

    def row(self) -> dict[str, object]:
        """The candidate as a row of ``percentiles/{layer}.json``."""
        return {"percentile": self.percentile, "best": self.best, "stopped": self.stopped, **asdict(self.outcome)}


class OutcomeRow(TypedDict):
    """What this module reads of a row of ``sensitivity/{layers}.json``: the layer, and the fields of an `Outcome`."""

    layer: str
    wer: float
    degradation: float
    ci_low: float
    ci_high: float
    divergence: float
    utterances: int
    errors: list[int | None]
    divergences: list[float | None]
    ci_over: str
    high_here: float


@dataclass(frozen=True)
class WordTies:
    """When the words of two cut-offs are too near each other to tell which is better.

    Attributes
    ----------
    words: number of words in each utterance, int64 ``(utterances,)``
    points: they differ by at most this many percentage points of WER
    seed: for the bootstrap by utterance, whose 95 % interval of their difference holds 0
    """

    words: np.ndarray
    points: float
    seed: int

    def hold(self, errors: np.ndarray, fewest: np.ndarray, heard: np.ndarray) -> bool:
        """Whether ``errors`` and ``fewest``, int64 ``(heard utterances,)``, tie; ``heard`` tells which those are."""
        words = self.words[heard]
        if 100 * (errors.sum() - fewest.sum()) > self.points * words.sum():
            return False
        low, _ = degradation_interval(WordErrors(errors, words), WordErrors(fewest, words), self.seed)
        return low <= 0


def search_percentile(
    recogniser: Recogniser,
    modules: list[QuantizedModule],
    histograms: Mapping[str, Histogram],
    percentiles: Sequence[float],
    calibration: Calibration,
    racing: Racing | None = None,
    known: Sequence[Candidate] = (),
    ties: WordTies | None = None,
) -> list[Candidate]:
    """Recognise the calibration set with the layer of ``modules`` clipped at each of ``percentiles`` (in percent).

    ``histograms`` are by activation name. With ``racing``, a cut-off is stopped when it can hardly win, and the search
    ends when one of several candidates is left. ``known`` are candidates that were measured before on all utterances;
    they take part in the race. A cut-off that may end in one of ``ties``, see `mark_best`, is not stopped.
    """
    known_errors = [np.array(c.outcome.errors) for c in known]
    known_divergences = [np.array(c.outcome.divergences) for c in known]
    tie = ties.points / 100 * ties.words.sum() if ties else 0.0

    def race(racing: Racing, trials: list[Trial]) -> bool:
        seen = trials[0].seen
        errors = np.stack([*(trial.errors.errors for trial in trials), *(errors[seen] for errors in known_errors)])
        divergences = [trial.divergences.sum() for trial in trials]
        divergences += [nats[seen].sum() for nats in known_divergences]
        lost = racing.losers(errors, np.array(divergences), int((~seen).sum()), tie)
        for trial, loses in zip(trials, lost.tolist(), strict=False):
            trial.stopped = loses
        return len(lost) > 1 and int(lost.sum()) == len(lost) - 1

    trials = [Trial(clipped(modules, histograms, percentile), calibration) for percentile in percentiles]
    run_trials(recogniser, [Experiment(modules, trials, partial(race, racing) if racing else None)], calibration)
    return [Candidate(p, trial.outcome(), trial.stopped) for p, trial in zip(percentiles, trials, strict=True)]


def unclipped(probes: Sequence[OutcomeRow], layer: str) -> list[Candidate]:
    """The layer at `UNCLIPPED` as a candidate, from its probe; an empty list if racing stopped the probe early.

    ``probes`` is the content of ``sensitivity/{layers}.json``.
    """
    (row,) = [row for row in probes if row["layer"] == layer]
    if None in row["errors"]:
        return []
    return [Candidate(UNCLIPPED, outcome_of(row))]


def outcome_of(row: OutcomeRow) -> Outcome:
    """The `Outcome` in a row, which may have more entries."""
    return Outcome(
        wer=row["wer"],
        degradation=row["degradation"],
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        divergence=row["divergence"],
        utterances=row["utterances"],
        errors=row["errors"],
        divergences=row["divergences"],
        ci_over=row["ci_over"],
        high_here=row["high_here"],
    )


def clipped(
    modules: Sequence[QuantizedModule], histograms: Mapping[str, Histogram], percentile: float
) -> dict[str, Range]:
    """Range of each activation of ``modules``, by activation name, clipped at ``percentile`` (in percent)."""
    names = {name for module in modules for name in module.tensors(histograms)}
    return {name: percentile_range(histograms[name], percentile) for name in sorted(names)}


def mark_best(candidates: Sequence[Candidate], ties: WordTies | None = None) -> list[Candidate]:
    """``candidates`` with the best one marked.

    The best one has the fewest word errors. Among equals, and those that tie with it if ``ties`` are given, it has the
    lowest divergence from fp32, then the highest percentile. Stopped candidates cannot win. Only the utterances that
    all other candidates recognised count.
    """
    running = [c for c in candidates if not c.stopped]
    heard = np.array([None not in errors for errors in zip(*(c.outcome.errors for c in running), strict=True)])

    def counted(numbers: Sequence[int | None] | Sequence[float | None]) -> np.ndarray:
        return np.array(list(compress(numbers, heard)))

    errors = [counted(c.outcome.errors) for c in running]
    fewest = min(errors, key=np.sum)
    equal = [
        (float(counted(c.outcome.divergences).sum()), -c.percentile, c)
        for c, wrong in zip(running, errors, strict=True)
        if wrong.sum() == fewest.sum() or (ties and ties.hold(wrong, fewest, heard))
    ]
    winner = min(equal, key=lambda found: found[:2])[2]
    return [replace(c, best=c is winner) for c in candidates]
