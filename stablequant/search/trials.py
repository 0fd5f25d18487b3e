"""Layers quantized to candidate ranges, and the calibration set recognised with each, batch by batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from stablequant.corpora.utterance import Batch, score
from stablequant.progress import progress
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.simulation import ChannelScales, fake_quantized, fake_quantized_weights
from stablequant.recognisers.family import QuantizedModule, Recognised, Recogniser
from stablequant.scoring.divergence import divergence
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation
from stablequant.search.activations import Activations
from stablequant.search.racing_order import looks
from stablequant.search.reference import Reference
from stablequant.search.split import Split, check_finite, context_of


@dataclass(frozen=True)
class Calibration:
    """The calibration set as trials need it.

    ``activations`` are resumed from where there are any; ``seed`` draws the bootstrap's utterances; activations are
    equalised by ``channel_scales``, and weights rounded as in ``rounded``, those it lacks to the nearest level.
    """

    split: Split
    reference: Reference
    activations: Activations | None
    seed: int
    channel_scales: ChannelScales = field(default_factory=dict)
    rounded: Mapping[str, RoundedWeight] = field(default_factory=dict)

    def weights(self, model: torch.nn.Module, modules: Sequence[QuantizedModule]) -> dict[str, torch.Tensor]:
        """Of ``modules``, as INT8 represents them."""
        return fake_quantized_weights(model, modules, self.channel_scales, self.rounded)


@dataclass(frozen=True)
class Outcome:
    """The calibration set, or as much of it as was needed, recognised with some modules quantized.

    Attributes
    ----------
    wer: word error rate in percent
    degradation, ci_low, ci_high: points of WER lost against fp32 on the same utterances, with its 95 % interval
    divergence: of the posteriors from fp32's, nats per position (a frame of CTC, a token of a decoder)
    utterances: how many were recognised
    errors: word errors of each utterance, None where it was not recognised
    divergences: of each utterance's posteriors, nats summed over its positions, None where it was not recognised
    """

    wer: float
    degradation: float
    ci_low: float
    ci_high: float
    divergence: float
    utterances: int
    errors: list[int | None]
    divergences: list[float | None]


class Trial:
    """Ranges, by activation name, for one layer. Once ``stopped``, no further batch is recognised with them."""

    def __init__(self, ranges: Mapping[str, Range], calibration: Calibration) -> None:
        self.ranges = ranges
        self.stopped = False
        self._calibration = calibration
        self._place = {u.path: i for i, u in enumerate(calibration.split.utterances)}
        self._errors = np.full(len(self._place), -1)
        self._divergences = np.zeros(len(self._place))
        self._positions = 0

    def add(self, batch: Batch, found: Sequence[Recognised]) -> None:
        """Score what was recognised in a batch against transcripts and fp32's posteriors."""
        check_finite(batch, found)
        hypotheses = {u.path: recognised.text for u, recognised in zip(batch, found, strict=True)}
        self._errors[[self._place[u.path] for u in batch]] = score(batch, hypotheses).errors
        for utterance, recognised in zip(batch, found, strict=True):
            expected = self._calibration.reference.log_posteriors[utterance.path]
            self._divergences[self._place[utterance.path]] = divergence(expected, recognised.log_posteriors)
            self._positions += len(recognised.log_posteriors)

    @property
    def seen(self) -> np.ndarray:
        """Which utterances were recognised, bool ``(utterances,)``."""
        return self._errors >= 0

    @property
    def errors(self) -> WordErrors:
        """Of the utterances that were recognised."""
        return WordErrors(self._errors[self.seen], self._calibration.reference.errors.words[self.seen])

    @property
    def reference(self) -> WordErrors:
        """What fp32 makes of the same utterances."""
        errors = self._calibration.reference.errors
        return WordErrors(errors.errors[self.seen], errors.words[self.seen])

    @property
    def divergences(self) -> np.ndarray:
        """Nats of each utterance that was recognised, summed over its positions."""
        return self._divergences[self.seen]

    @property
    def divergence(self) -> float:
        """Nats per position."""
        return float(self.divergences.sum()) / self._positions

    def outcome(self) -> Outcome:
        """What was measured so far."""
        low, high = degradation_interval(self.errors, self.reference, self._calibration.seed)
        return Outcome(
            wer=self.errors.wer,
            degradation=degradation(self.errors, self.reference),
            ci_low=low,
            ci_high=high,
            divergence=self.divergence,
            utterances=int(self.seen.sum()),
            errors=[int(errors) if seen else None for errors, seen in zip(self._errors, self.seen, strict=True)],
            divergences=[
                float(nats) if seen else None for nats, seen in zip(self._divergences, self.seen, strict=True)
            ],
        )


@dataclass
class Experiment:
    """Trials of one layer.

    ``decide`` is given the running trials now and then, may stop some, and says whether all is decided.
    """

    modules: list[QuantizedModule]
    trials: list[Trial]
    decide: Callable[[list[Trial]], bool] | None = None
    decided: bool = False

    @property
    def layer(self) -> str:
        return self.modules[0].layer

    @property
    def running(self) -> list[Trial]:
        return [] if self.decided else [trial for trial in self.trials if not trial.stopped]


def run_trials(recogniser: Recogniser, experiments: Sequence[Experiment], calibration: Calibration) -> None:
    """Recognise the calibration set with every trial; all but its layer stays in fp32.

    What lies before a layer is computed once per batch for all trials, from the nearest stored values.
    """
    ordered = sorted(experiments, key=lambda e: recogniser.layers.index(e.layer))
    weights = {e.layer: calibration.weights(recogniser.model, e.modules) for e in ordered}
    split = calibration.split
    seen, ahead = 0, looks(len(split.utterances))
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
    activations = calibration.activations
    state, entered = None, 0
    for experiment in experiments:
        layer = min(recogniser.layers.index(experiment.layer), recogniser.resumable)
        stored = activations.nearest(layer) if activations else 0
        if activations and stored > entered:
            state, entered = recogniser.enter(activations.load(stored, number)), stored
        elif state is None:
            state = recogniser.load(batch)
        state, entered = recogniser.run(state, entered, layer, context), layer
        for trial in experiment.running:
            scales = calibration.channel_scales
            with fake_quantized(recogniser.model, experiment.modules, trial.ranges, scales, weights[experiment.layer]):
                trial.add(batch, recogniser.recognise(state, layer, context, guides))
