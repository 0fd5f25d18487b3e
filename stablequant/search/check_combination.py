"""Check all layers quantized together, and reduce the degradation if it is too large."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import pandas as pd

from stablequant.progress import progress
from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.split import context_of
from stablequant.search.swapped_weights import SwappedWeights
from stablequant.search.trials import Calibration, Outcome, Trial

COLUMNS = [
    *("step", "layers", "percentile", "kept", "utterances"),
    *("wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence"),
]
OTHERS = "others"  # all layers that were not searched, as one group, without those that have a row of their own


@dataclass(frozen=True)
class Choice:
    """How each layer is quantized.

    Attributes
    ----------
    percentiles: cut-off percentile by layer, in percent; layers that are missing are not clipped
    float_layers: layers that stay in floating point
    """

    percentiles: Mapping[str, float]
    float_layers: frozenset[str] = frozenset()

    def clipped(self, layers: Sequence[str], percentile: float) -> "Choice":
        """The same choice, but with ``layers`` clipped at ``percentile``."""
        return replace(self, percentiles={**self.percentiles, **dict.fromkeys(layers, percentile)})

    def without(self, layers: Sequence[str]) -> "Choice":
        """The same choice, but with ``layers`` in floating point."""
        return replace(self, float_layers=self.float_layers | set(layers))


@dataclass(frozen=True)
class Step:
    """The calibration set, or a part of it, recognised with all layers quantized except those that ``step`` names.

    Attributes
    ----------
    step: ``searched together``: one cut-off for all layers that were not searched; ``all layers``: all are quantized;
        ``without``: ``layers`` are in floating point, to measure what quantizing them costs; ``searched again``: a new
        cut-off for ``layers``; ``left in floating point``: ``layers`` stay in floating point
    layers: name of a layer, `OTHERS`, or ``all``
    percentile: cut-off of ``layers`` in percent; None if they are in floating point or have different cut-offs
    outcome: what was measured
    kept: whether this step is part of the result
    """

    step: str
    layers: str
    percentile: float | None
    outcome: Outcome
    kept: bool = False

    def row(self) -> dict[str, object]:
        """The step as a row of the table, `COLUMNS`."""
        measured = {name: value for name, value in asdict(self.outcome).items() if name in COLUMNS}
        return {"step": self.step, "layers": self.layers, "percentile": self.percentile, "kept": self.kept, **measured}


class Combination:
    """The recogniser with all layers quantized, in several variants.

    The range of each activation is the one with the least squared error over the histogram clipped at the cut-off of
    its layer.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        modules: Sequence[QuantizedModule],
        histograms: Mapping[str, Histogram],
        calibration: Calibration,
    ) -> None:
        self.layers = list(recogniser.layers)
        self._recogniser, self._modules, self._calibration = recogniser, modules, calibration
        self._histograms = histograms
        self._weights = SwappedWeights(recogniser.model, modules, calibration)
        self._ranges: dict[tuple[str, float], Range] = {}

    def size(self, layer: str) -> int:
        """Number of weights in ``layer``."""
        return sum(operation_of(self._recogniser.model, m).weight.numel() for m in self._modules if m.layer == layer)

    def recognise(self, choice: Choice) -> Outcome:
        """Recognise the calibration set with the layers quantized as in ``choice``."""
        return self.vary(choice, [(self.layers[:1], choice)])[0]

    def vary(
        self, base: Choice, variants: Sequence[tuple[Sequence[str], Choice]], audio_seconds: float = math.inf
    ) -> list[Outcome]:
        """Recognise the calibration set with each of ``variants``.

        A variant is a pair: the layers in which it differs from ``base``, and its choice. The layers before these are
        computed only once per batch. ``audio_seconds`` of the set are used, see `Split.sample`.
        """
        recogniser = self._recogniser
        firsts = [min(recogniser.resumable, *(self.layers.index(layer) for layer in layers)) for layers, _ in variants]
        self._find_ranges([base, *(choice for _, choice in variants)])
        trials = [Trial(self.ranges_of(choice), self._calibration) for _, choice in variants]
        shared = self.ranges_of(base)
        batches = self._calibration.split.sample(audio_seconds)
        ordered = sorted(zip(firsts, trials, strict=True), key=lambda pair: pair[0])
        total = len(trials) * sum(len(batch) for batch in batches)
        with self._weights.swapping(), progress(total=total, label="all layers quantized") as recognised:
            for batch in batches:
                context, state = context_of(recogniser, batch), recogniser.load(batch)
                guides = self._calibration.reference.guides_of(batch)
                entered = 0
                for first, trial in ordered:
                    if first > entered:
                        with self._quantized(shared):
                            state, entered = recogniser.run(state, entered, first, context), first
                    with self._quantized(trial.ranges):
                        trial.add(batch, recogniser.recognise(state, first, context, guides))
                    recognised.update(len(batch))
        return [trial.outcome() for trial in trials]

    @contextmanager
    def _quantized(self, ranges: Mapping[str, Range]) -> Iterator[None]:
        modules = [m for m in self._modules if m.activation in ranges]
        self._weights.quantize([m.module for m in modules])
        weights, scales = self._weights.in_memory(modules), self._calibration.channel_scales
        with fake_quantized(self._recogniser.model, modules, ranges, scales, weights):
            yield

    def percentile_of(self, choice: Choice, module: QuantizedModule) -> float:
        """Cut-off percentile of the input of ``module``, in percent."""
        return choice.percentiles.get(module.layer, UNCLIPPED)

    def ranges_of(self, choice: Choice) -> dict[str, Range]:
        """Range of each activation that is quantized in ``choice``, by activation name."""
        self._find_ranges([choice])
        return {activation: self._ranges[activation, percentile] for activation, percentile in self._wanted(choice)}

    def _wanted(self, choice: Choice) -> set[tuple[str, float]]:
        """Activations that are quantized in ``choice``, with their cut-offs."""
        quantized = (m for m in self._modules if m.layer not in choice.float_layers)
        return {(m.activation, self.percentile_of(choice, m)) for m in quantized}

    def _find_ranges(self, choices: Sequence[Choice]) -> None:
        """Find the ranges that ``choices`` need and that are not known yet."""
        missing = {pair for choice in choices for pair in self._wanted(choice)} - self._ranges.keys()
        if missing:
            for activation, percentile in progress(sorted(missing), label="ranges of least error"):
                self._ranges[activation, percentile] = mse_range(self._histograms[activation], percentile)


def check_combination(
    combination: Combination,
    searched: Choice,
    grid: Sequence[float],
    suspects: Sequence[str],
    threshold: float,
    audio_seconds: float,
    keep_float: bool,
) -> tuple[Choice, list[Step]]:
    """Choose a cut-off for the layers that were not searched, check all layers together, and reduce the degradation.

    1. Layers that were not searched share one cut-off. It is the one of ``grid`` (in percent) that diverges least from
       fp32 on ``audio_seconds`` of audio, with all layers quantized. Divergence is used because WER differs here by
       only a few words; divergence is a finer measure and needs little audio.
    2. The calibration set is recognised with all layers quantized. If the degradation is at most ``threshold`` (in
       percentage points), this is the result.
    3. Each of ``suspects``, and the other layers as one group, are put back to floating point, one at a time. This
       measures what quantizing them costs.
    4. The costliest ones first, they are searched again by least divergence on ``audio_seconds`` of audio, with the
       other layers quantized, until the degradation of the calibration set is at most ``threshold``.
    5. If this is not enough and ``keep_float`` is set, suspects stay in floating point, one after the other, until the
       degradation is at most ``threshold``. The first is the one that reduces the divergence most per weight.

    Returns the choice and all steps.
    """
    choice = searched
    steps: list[Step] = []
    others = [name for name in combination.layers if name not in {*searched.percentiles, *searched.float_layers}]
    if others:
        choice, steps = _search("searched together", combination, searched, OTHERS, others, grid, audio_seconds)
    together = outcome = combination.recognise(choice)
    steps.append(Step("all layers", "all", None, outcome, kept=outcome.degradation <= threshold))
    _log(steps[-1])
    if outcome.degradation <= threshold:
        return choice, steps
    groups = {layer: [layer] for layer in suspects if layer not in searched.float_layers}
    groups[OTHERS] = [layer for layer in others if layer not in groups]
    groups = {name: layers for name, layers in groups.items() if layers}
    alone = combination.vary(choice, [(layers, choice.without(layers)) for layers in groups.values()])
    without = [Step("without", name, None, measured) for name, measured in zip(groups, alone, strict=True)]
    for step in without:
        _log(step)
    steps += without
    costliest = [step.layers for step in sorted(without, key=lambda step: step.outcome.divergence)]
    for name in costliest:
        if outcome.degradation <= threshold:
            break
        found, tried = _search("searched again", combination, choice, name, groups[name], grid, audio_seconds)
        steps += tried
        if found != choice:
            choice, outcome = found, combination.recognise(found)
            steps.append(Step("all layers", "all", None, outcome, kept=outcome.degradation <= threshold))
            _log(steps[-1])
    spared = {
        step.layers: (together.divergence - step.outcome.divergence) / combination.size(step.layers)
        for step in without
        if step.layers != OTHERS  # these may be nearly all layers
    }
    for name in sorted(spared, key=spared.__getitem__, reverse=True) if keep_float else []:
        if outcome.degradation <= threshold:
            break
        choice = choice.without(groups[name])
        outcome = combination.recognise(choice)
        steps.append(Step("left in floating point", name, None, outcome, kept=True))
        _log(steps[-1])
    if outcome.degradation > threshold:
        logging.warning(
            "quantized together, the layers lose %.2f points on the calibration set; costliest: %s",
            outcome.degradation,
            ", ".join(costliest),
        )
    return choice, steps


def step_table(steps: Sequence[Step]) -> pd.DataFrame:
    """One row per step with the columns `COLUMNS`."""
    return pd.DataFrame([step.row() for step in steps], columns=COLUMNS)


def _search(
    step: str,
    combination: Combination,
    choice: Choice,
    name: str,
    layers: Sequence[str],
    grid: Sequence[float],
    audio_seconds: float,
) -> tuple[Choice, list[Step]]:
    """Choose the cut-off for ``layers`` with the least divergence; return the choice and all steps."""
    percentiles = sorted({UNCLIPPED, *grid}, reverse=True)
    variants = [choice.clipped(layers, percentile) for percentile in percentiles]
    outcomes = combination.vary(choice, [(layers, variant) for variant in variants], audio_seconds)
    best = min(range(len(outcomes)), key=lambda i: outcomes[i].divergence)
    steps = [
        Step(step, name, percentile, outcome, kept=number == best)
        for number, (percentile, outcome) in enumerate(zip(percentiles, outcomes, strict=True))
    ]
    _log(steps[best])
    return variants[best], steps


def _log(step: Step) -> None:
    layers = "the unsearched layers" if step.layers == OTHERS else step.layers
    if step.step == "without":
        quantized = f"all INT8 except {layers}"
    elif step.step == "all layers":
        quantized = "all INT8"
    else:
        cut_off = "" if step.percentile is None else f" at {step.percentile} %"
        quantized = f"all INT8, {layers} {step.step}{cut_off}"
    logging.info("%s: %+.2f points of WER", quantized, step.outcome.degradation)
