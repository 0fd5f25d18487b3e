"""Check all layers quantized together, and reduce the degradation if it is too large."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from stablequant.quantization.histograms import UNCLIPPED
from stablequant.search.combination import Choice, Combination
from stablequant.search.trials import Outcome

COLUMNS = [
    *("step", "layers", "percentile", "kept", "utterances"),
    *("wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence"),
]
OTHERS = "others"  # all layers that were not searched, as one group, without those that have a row of their own


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
       other layers quantized, until the degradation of the calibration set is at most ``threshold``. A new cut-off with
       which the calibration set loses more is not taken.
    5. If this is not enough and ``keep_float`` is set, suspects stay in floating point, one after the other, until the
       degradation is at most ``threshold``. The first is the one that reduces the divergence most per weight.

    Returns the choice and all steps.
    """
    others = [name for name in combination.layers if name not in {*searched.percentiles, *searched.float_layers}]
    groups = {layer: [layer] for layer in suspects if layer not in searched.float_layers}
    groups[OTHERS] = [layer for layer in others if layer not in groups]
    check = _Check(combination, searched, grid, threshold, audio_seconds)
    if others:
        check.search_together(others)
    check.take("all layers", "all", check.choice)
    if not check.is_enough:
        without = check.measure_without({name: layers for name, layers in groups.items() if layers})
        costliest = [step.layers for step in sorted(without, key=lambda step: step.outcome.divergence)]
        spared = check.spared_per_weight(without)
        for name in costliest:
            check.search_again(name, groups[name])
        for name in sorted(spared, key=spared.__getitem__, reverse=True) if keep_float else []:
            check.leave_in_float(name, groups[name])
        if not check.is_enough:
            logging.warning(
                "quantized together, the layers lose %.2f points on the calibration set; costliest: %s",
                check.outcome.degradation,
                ", ".join(costliest),
            )
    return check.choice, check.steps_of_result()


class _Check:
    """The choice so far and its outcome on the calibration set, and the steps that led there.

    Once `is_enough`, nothing changes the choice any more.
    """

    outcome: Outcome

    def __init__(
        self,
        combination: Combination,
        searched: Choice,
        grid: Sequence[float],
        threshold: float,
        audio_seconds: float,
    ) -> None:
        self.choice = searched
        self._combination, self._threshold, self._audio_seconds = combination, threshold, audio_seconds
        self._percentiles = sorted({UNCLIPPED, *grid}, reverse=True)
        self._steps: list[Step] = []

    @property
    def is_enough(self) -> bool:
        """Whether the degradation is at most the threshold."""
        return self.outcome.degradation <= self._threshold

    def take(self, step: str, layers: str, choice: Choice) -> None:
        """Recognise the calibration set with ``choice``, and go on with it."""
        self.choice, self.outcome = choice, self._combination.recognise(choice)
        self._add([Step(step, layers, None, self.outcome, kept=True)])

    def search_together(self, others: Sequence[str]) -> None:
        """Take the common cut-off of ``others``, the layers that were not searched."""
        self.choice, steps = self._search("searched together", OTHERS, others)
        self._steps += steps

    def measure_without(self, groups: Mapping[str, Sequence[str]]) -> list[Step]:
        """The outcome with each group of layers in floating point."""
        variants = [(layers, self.choice.without(layers)) for layers in groups.values()]
        outcomes = self._combination.vary(self.choice, variants)
        steps = [Step("without", name, None, outcome) for name, outcome in zip(groups, outcomes, strict=True)]
        self._add(steps)
        return steps

    def spared_per_weight(self, without: Sequence[Step]) -> dict[str, float]:
        """By how much each suspect in floating point reduces the divergence, for each of its weights."""
        return {
            step.layers: (self.outcome.divergence - step.outcome.divergence) / self._combination.size(step.layers)
            for step in without
            if step.layers != OTHERS  # these may be nearly all layers
        }

    def search_again(self, name: str, layers: Sequence[str]) -> None:
        """Take a new cut-off for the group ``name`` if the calibration set then loses less."""
        if self.is_enough:
            return
        found, tried = self._search("searched again", name, layers)
        if found == self.choice:
            self._steps += tried
            return
        outcome = self._combination.recognise(found)
        better = _loss(outcome) < _loss(self.outcome)
        self._steps += tried if better else [replace(step, kept=False) for step in tried]
        self._add([Step("all layers", "all", None, outcome, kept=better)])
        if better:
            self.choice, self.outcome = found, outcome

    def leave_in_float(self, name: str, layers: Sequence[str]) -> None:
        """Leave the layer ``name`` in floating point."""
        if not self.is_enough:
            self.take("left in floating point", name, self.choice.without(layers))

    def steps_of_result(self) -> list[Step]:
        """All steps; of those that recognised all layers, only the last one that counts is kept."""
        return [replace(s, kept=s.outcome is self.outcome) if s.step == "all layers" else s for s in self._steps]

    def _add(self, steps: Sequence[Step]) -> None:
        self._steps += steps
        for step in steps:
            _log(step)

    def _search(self, step: str, name: str, layers: Sequence[str]) -> tuple[Choice, list[Step]]:
        """The choice with the cut-off for ``layers`` that diverges least, and the steps to it."""
        variants = [self.choice.clipped(layers, percentile) for percentile in self._percentiles]
        changed = [(layers, variant) for variant in variants]
        outcomes = self._combination.vary(self.choice, changed, self._audio_seconds)
        best = min(range(len(outcomes)), key=lambda i: outcomes[i].divergence)
        steps = [
            Step(step, name, percentile, outcome, kept=number == best)
            for number, (percentile, outcome) in enumerate(zip(self._percentiles, outcomes, strict=True))
        ]
        _log(steps[best])
        return variants[best], steps


def _loss(outcome: Outcome) -> tuple[float, float]:
    """By what outcomes of the same audio are compared: words, then posteriors."""
    return outcome.degradation, outcome.divergence


def step_table(steps: Sequence[Step]) -> pd.DataFrame:
    """One row per step with the columns `COLUMNS`."""
    return pd.DataFrame([step.row() for step in steps], columns=COLUMNS)


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
