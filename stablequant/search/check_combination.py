"""All layers quantized at once: whether together they lose too much, and what to do about it."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace

import pandas as pd

from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized
from stablequant.recognisers.family import QuantizedModule, Recogniser
from stablequant.recognisers.operations import operation_of
from stablequant.search.split import loaded
from stablequant.search.trials import Calibration, Outcome, Trial

COLUMNS = [
    *("step", "layers", "percentile", "kept", "utterances"),
    *("wer", "degradation", "ci_low", "ci_high", "divergence"),
]
OTHERS = "others"  # as one: all layers that no search has clipped, or those of them that are not named beside it


@dataclass(frozen=True)
class Choice:
    """How the layers are quantized together.

    Attributes
    ----------
    percentiles: cut-off by layer, in percent; a layer that is missing is not clipped
    float_layers: layers left in floating point
    """

    percentiles: Mapping[str, float]
    float_layers: frozenset[str] = frozenset()

    def clipped(self, layers: Sequence[str], percentile: float) -> "Choice":
        return replace(self, percentiles={**self.percentiles, **dict.fromkeys(layers, percentile)})

    def without(self, layers: Sequence[str]) -> "Choice":
        return replace(self, float_layers=self.float_layers | set(layers))


@dataclass(frozen=True)
class Step:
    """The calibration set, or a part of it, recognised with all layers quantized, but for what ``step`` says.

    Attributes
    ----------
    step: ``searched together``, a cut-off for all layers that no search had clipped; ``all layers``; ``without`` some,
        to see what quantizing them costs; ``searched again``, with the rest quantized; ``left in floating point``
    layers: a layer, `OTHERS`, or ``all``
    percentile: their cut-off, None where they are in floating point or have cut-offs of their own
    kept: whether it became part of the result
    """

    step: str
    layers: str
    percentile: float | None
    outcome: Outcome
    kept: bool = False

    def row(self) -> dict:
        measured = {name: value for name, value in asdict(self.outcome).items() if name in COLUMNS}
        return {"step": self.step, "layers": self.layers, "percentile": self.percentile, "kept": self.kept, **measured}


class Combination:
    """The recogniser with all its layers quantized, in variants.

    Every activation's range is that of least squared error over its histogram clipped at its layer's cut-off.
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
        self._weights = calibration.weights(recogniser.model, modules)
        self._ranges: dict[tuple[str, float], Range] = {}

    def size(self, layer: str) -> int:
        """How many weights it has."""
        return sum(operation_of(self._recogniser.model, m).weight.numel() for m in self._modules if m.layer == layer)

    def recognise(self, choice: Choice) -> Outcome:
        """The calibration set with the layers quantized as ``choice`` says."""
        return self.vary(choice, [(self.layers[:1], choice)])[0]

    def vary(
        self, base: Choice, variants: Sequence[tuple[Sequence[str], Choice]], audio_seconds: float = math.inf
    ) -> list[Outcome]:
        """The calibration set with each of ``variants``, which differs from ``base`` in the layers before it.

        What lies before those is computed once per batch. Of the set ``audio_seconds`` are taken, see `Split.sample`.
        """
        recogniser = self._recogniser
        firsts = [min(recogniser.resumable, *(self.layers.index(layer) for layer in layers)) for layers, _ in variants]
        trials = [Trial(self.ranges_of(choice), self._calibration) for _, choice in variants]
        shared = self.ranges_of(base)
        batches = self._calibration.split.sample(audio_seconds)
        for batch, context, state in loaded(recogniser, batches, "all layers quantized"):
            guides = self._calibration.reference.guides_of(batch)
            entered = 0
            for first, trial in sorted(zip(firsts, trials, strict=True), key=lambda pair: pair[0]):
                with self._quantized(shared):
                    state, entered = recogniser.run(state, entered, first, context), first
                with self._quantized(trial.ranges):
                    trial.add(batch, recogniser.recognise(state, first, context, guides))
        return [trial.outcome() for trial in trials]

    def _quantized(self, ranges: Mapping[str, Range]) -> AbstractContextManager[None]:
        modules = [m for m in self._modules if m.activation in ranges]
        return fake_quantized(self._recogniser.model, modules, ranges, self._calibration.channel_scales, self._weights)

    def percentile_of(self, choice: Choice, module: QuantizedModule) -> float:
        """Cut-off of what ``module`` reads."""
        return choice.percentiles.get(module.layer, UNCLIPPED)

    def ranges_of(self, choice: Choice) -> dict[str, Range]:
        """Of each activation that is quantized."""
        wanted = {
            (m.activation, self.percentile_of(choice, m)) for m in self._modules if m.layer not in choice.float_layers
        }
        for activation, percentile in wanted - self._ranges.keys():
            self._ranges[activation, percentile] = mse_range(self._histograms[activation], percentile)
        return {activation: self._ranges[activation, percentile] for activation, percentile in wanted}


def check_combination(
    combination: Combination,
    searched: Choice,
    grid: Sequence[float],
    suspects: Sequence[str],
    threshold: float,
    audio_seconds: float,
    keep_float: bool,
) -> tuple[Choice, list[Step]]:
    """Quantize all layers as ``searched`` and choose a cut-off for the rest; mend what loses more than ``threshold``
    points of WER.

    Of ``grid`` (in percent) that cut-off is taken, for all layers that were not searched, that diverges least from fp32
    on ``audio_seconds`` of audio with all layers quantized. Divergence is a finer measure than the few words by which
    WER differs here, and needs little audio.

    If the calibration set then loses more than ``threshold`` points, each of ``suspects`` and the others (as one) are
    left in floating point in turn, which says what they cost. The costliest first, they are searched again with the
    rest quantized by least divergence, until the loss is no more than ``threshold``. If nothing helps enough and
    ``keep_float``, suspects are left in floating point, one after the other, first the one that spares most divergence
    for its weights.
    """
    choice = searched
    steps: list[Step] = []
    others = [name for name in combination.layers if name not in {*searched.percentiles, *searched.float_layers}]
    if others:
        choice, _, steps = _search("searched together", combination, searched, OTHERS, others, grid, audio_seconds)
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
        choice, outcome, tried = _search("searched again", combination, choice, name, groups[name], grid)
        steps += tried
    spared = {
        step.layers: (together.divergence - step.outcome.divergence) / combination.size(step.layers)
        for step in without
        if step.layers != OTHERS  # which may be nearly all of the network
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
    """One row per recognition of the calibration set, `COLUMNS`."""
    return pd.DataFrame([step.row() for step in steps], columns=COLUMNS)


def _search(
    step: str,
    combination: Combination,
    choice: Choice,
    name: str,
    layers: Sequence[str],
    grid: Sequence[float],
    audio_seconds: float = math.inf,
) -> tuple[Choice, Outcome, list[Step]]:
    percentiles = sorted({UNCLIPPED, *grid}, reverse=True)
    variants = [choice.clipped(layers, percentile) for percentile in percentiles]
    outcomes = combination.vary(choice, [(layers, variant) for variant in variants], audio_seconds)
    best = min(range(len(outcomes)), key=lambda i: outcomes[i].divergence)
    steps = [
        Step(step, name, percentile, outcome, kept=number == best)
        for number, (percentile, outcome) in enumerate(zip(percentiles, outcomes, strict=True))
    ]
    _log(steps[best])
    return variants[best], outcomes[best], steps


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
