"""Check all layers quantized together, and reduce the degradation if it is too large."""

import logging
from collections.abc import Sequence
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
    choice = searched
    steps: list[Step] = []
    others = [name for name in combination.layers if name not in {*searched.percentiles, *searched.float_layers}]
    if others:
        choice, steps = _search("searched together", combination, searched, OTHERS, others, grid, audio_seconds)
    together = outcome = combination.recognise(choice)
    steps.append(Step("all layers", "all", None, outcome, kept=True))
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
        if found == choice:
            steps += tried
            continue
        again = combination.recognise(found)
        better = _loss(again) < _loss(outcome)
        steps += tried if better else [replace(step, kept=False) for step in tried]
        steps.append(Step("all layers", "all", None, again, kept=better))
        _log(steps[-1])
        if better:
            choice, outcome = found, again
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
    recognised = [replace(s, kept=s.outcome is outcome) if s.step == "all layers" else s for s in steps]
    return choice, recognised


def _loss(outcome: Outcome) -> tuple[float, float]:
    """By what outcomes of the same audio are compared: words, then posteriors."""
    return outcome.degradation, outcome.divergence


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
