"""Trials: the calibration set recognised with one layer quantized to candidate ranges, batch by batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
import torch

from stablequant.corpora.utterance import Batch, score
from stablequant.progress import progress
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.simulation import ChannelScales, fake_quantized, fake_quantized_weights
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recognised, Recogniser
from stablequant.scoring.intervals import degradation_interval, utterance_interval
from stablequant.scoring.word_errors import WordErrors, degradation
from stablequant.search.hidden_values import HiddenValues
from stablequant.search.racing_order import decision_points
from stablequant.search.reference import Reference
from stablequant.search.split import Split, check_finite, context_of


@dataclass(frozen=True)
class Calibration:
    """The calibration set, and all that is the same in every trial.

    Attributes
    ----------
    split: the utterances
    reference: what fp32 recognised
    hidden_values: cache of hidden values to start from; None without a cache
    seed: seed for the bootstrap of intervals
    channel_scales: scales by which activations are equalised, by activation name
    rounded: INT8 weights by module name; other weights are rounded to the nearest level
    """

    split: Split
    reference: Reference
    hidden_values: HiddenValues | None
    seed: int
    channel_scales: ChannelScales = field(default_factory=dict)
    rounded: Mapping[str, RoundedWeight] = field(default_factory=dict)

    def weights(self, model: torch.nn.Module, modules: Sequence[QuantizedModule]) -> dict[str, torch.Tensor]:
        """Fake-quantized weights of ``modules`` by module name."""
        return fake_quantized_weights(model, modules, self.channel_scales, self.rounded)

    def part(self, audio_seconds: float) -> "Calibration":
        """The same with only ``audio_seconds`` of the audio, see `Split.other_sample`, and without the cache.

        The cache holds the hidden values of whole batches, of which a part has only some utterances.
        """
        batches = self.split.other_sample(audio_seconds)
        chosen = {u.key for batch in batches for u in batch}
        among = np.array([u.key in chosen for u in self.split.utterances])
        split = replace(self.split, utterances=list(compress(self.split.utterances, among)), batches=batches)
        reference = replace(self.reference, errors=self.reference.errors.of(among))
        return replace(self, split=split, reference=reference, hidden_values=None)


@dataclass(frozen=True)
class Outcome:
    """What was measured in the calibration set, or in a part of it, with some modules quantized.

    Attributes
    ----------
    wer: word error rate in percent
    degradation: WER minus the WER of fp32 on the same utterances, in percentage points
    ci_low, ci_high: 95 % interval of the degradation
    divergence: divergence of the posteriors from fp32, in nats per position (a frame of CTC, a token of a decoder)
    utterances: number of utterances that were recognised
    errors: word errors of each utterance; None if it was not recognised
    divergences: divergence of each utterance, in nats summed over its positions; None if it was not recognised
    ci_over: what the bootstrap of the interval draws: ``speakers`` or ``utterances``
    high_here: upper end of the interval over utterances, which says nothing about other speakers
    """

    wer: float
    degradation: float
    ci_low: float
    ci_high: float
    divergence: float
    utterances: int
    errors: list[int | None]
    divergences: list[float | None]
    ci_over: str = "utterances"
    high_here: float = math.inf


class Trial:
    """Ranges for some activations, by activation name, and what was measured with them.

    Once ``stopped`` is set, no further batch is recognised with them.
    """

    def __init__(self, ranges: Mapping[str, Range], calibration: Calibration) -> None:
        self.ranges = ranges
        self.stopped = False
        self._calibration = calibration
        self._place = {u.key: i for i, u in enumerate(calibration.split.utterances)}
        self._errors = np.full(len(self._place), -1)
        self._divergences = np.zeros(len(self._place))
        self._positions = 0

    def add(self, batch: Batch, found: Sequence[Recognised]) -> None:
        """Compare what was recognised in ``batch`` with the transcripts and with the posteriors of fp32.

        Raises `StableQuantError` if posteriors contain NaN or infinity.
        """
        check_finite(batch, found)
        hypotheses = {u.key: recognised.text for u, recognised in zip(batch, found, strict=True)}
        self._errors[[self._place[u.key] for u in batch]] = score(batch, hypotheses).errors
        for utterance, recognised in zip(batch, found, strict=True):
            nats = self._calibration.reference.divergence(utterance, recognised)
            self._divergences[self._place[utterance.key]] = nats
            self._positions += len(recognised.log_posteriors)

    @property
    def seen(self) -> np.ndarray:
        """Which utterances were recognised, bool ``(utterances,)``."""
        recognised: np.ndarray = self._errors >= 0
        return recognised

    @property
    def errors(self) -> WordErrors:
        """Word errors of the utterances that were recognised."""
        return WordErrors(self._errors[self.seen], self._calibration.reference.errors.words[self.seen])

    @property
    def reference(self) -> WordErrors:
        """Word errors of fp32 in the same utterances."""
        return self._calibration.reference.errors.of(self.seen)

    @property
    def divergences(self) -> np.ndarray:
        """Divergence of each recognised utterance, float64 ``(seen utterances,)``, in nats summed over positions."""
        divergences: np.ndarray = self._divergences[self.seen]
        return divergences

    @property
    def divergence(self) -> float:
        """Divergence in nats per position."""
        return float(self.divergences.sum()) / self._positions

    def outcome(self) -> Outcome:
        """What was measured so far."""
        reference = self.reference
        low, high = degradation_interval(self.errors, reference, self._calibration.seed)
        return Outcome(
            wer=self.errors.wer,
            degradation=degradation(self.errors, reference),
            ci_low=low,
            ci_high=high,
            divergence=self.divergence,
            utterances=int(self.seen.sum()),
            errors=[int(errors) if seen else None for errors, seen in zip(self._errors, self.seen, strict=True)],
            divergences=[
                float(nats) if seen else None for nats, seen in zip(self._divergences, self.seen, strict=True)
            ],
            ci_over=reference.drawn,
            high_here=utterance_interval(self.errors, reference, self._calibration.seed)[1],
        )


@dataclass
class Experiment:
    """Trials of one layer.

    Attributes
    ----------
    modules: modules of the layer
    trials: the trials
    decide: called from time to time with the running trials; it may stop some of them, and returns whether the
        experiment is finished
    decided: whether the experiment is finished
    """

    modules: list[QuantizedModule]
    trials: list[Trial]
    decide: Callable[[list[Trial]], bool] | None = None
    decided: bool = False

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.modules[0].layer

    @property
    def running(self) -> list[Trial]:
        """The trials that are not stopped; none if the experiment is finished."""
        return [] if self.decided else [trial for trial in self.trials if not trial.stopped]


def run_trials(recogniser: Recogniser, experiments: Sequence[Experiment], calibration: Calibration) -> None:
    """Recognise the calibration set once per trial, with only the layer of the trial quantized.

    The layers before it are computed once per batch for all trials. This starts at the nearest cached layer.

    Raises
    ------
    StableQuantError
        when a recording cannot be read, or when the network's output contains NaN or infinity.
    """
    ordered = sorted(experiments, key=lambda e: recogniser.layers.index(e.layer))
    weights = {e.layer: calibration.weights(recogniser.model, e.modules) for e in ordered}
    split = calibration.split
    seen, ahead = 0, decision_points(len(split.utterances))
    with progress(total=len(split.utterances), label=" ".join(weights)) as recognised:
        for number, batch in enumerate(split.batches):
            running = [experiment for experiment in ordered if experiment.running]
            if not running:
                break
            _run_batch(recogniser, running, weights, calibration, number)
            seen += len(batch)
            recognised.update(len(batch))
            if ahead and ahead[0] <= seen < len(split.utterances):
                ahead = [look for look in ahead if look > seen]
                for experiment in running:
                    experiment.decided = experiment.decide is not None and experiment.decide(experiment.running)


def _run_batch(
    recogniser: Recogniser,
    experiments: list[Experiment],
    weights: Mapping[str, Mapping[str, torch.Tensor]],
    calibration: Calibration,
    number: int,
) -> None:
    batch = calibration.split.batches[number]
    context = context_of(recogniser, batch)
    guides = calibration.reference.guides_of(batch)
    hidden_values = calibration.hidden_values
    state, entered = None, 0
    for experiment in experiments:
        layer = min(recogniser.layers.index(experiment.layer), recogniser.resumable)
        stored = hidden_values.nearest(layer) if hidden_values else 0
        if hidden_values and stored > entered:
            state, entered = recogniser.enter(hidden_values.load(stored, number)), stored
        elif state is None:
            state = recogniser.load(batch)
        state, entered = recogniser.run(state, entered, layer, context), layer
        for trial in experiment.running:
            scales = calibration.channel_scales
            with fake_quantized(recogniser.model, experiment.modules, trial.ranges, scales, weights[experiment.layer]):
                trial.add(batch, recogniser.recognise(state, layer, context, guides))
