"""The stages of a run as a person sees them, and an estimate of the time that is left."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from stablequant.workflow.procedure import Procedure

STAGES: Mapping[str, Sequence[str]] = {  # each ends with a rule that gathers, so that its end is known from the start
    "checkpoint": ("download_checkpoint", "import_checkpoint"),
    "audio": ("write_manifest", "list_utterances", "measure_speed"),
    "channels and weights": ("equalise_channels", "choose_massive_channels", "choose_attention", "round_weights"),
    "reference in fp32": ("recognise_reference",),
    "layers quantized alone": ("screen_layers", "plan_probes", "probe_layer", "select_layers"),
    "cut-offs searched": ("search_percentile", "gather_percentiles"),
    "all layers together": ("check_combination",),
    "graphs and engines": ("export_onnx", "optimise_scales", "insert_qdq", "build_engine", "compare_precisions"),
    "engines judged": ("evaluate_engine", "time_engines", "compare", "compare_hypotheses"),
    "bundle and report": (
        *("plot_sensitivity", "plot_percentiles", "plot_histograms", "plot_comparison", "plot_tradeoff", "plot_peers"),
        *("plot_timeline", "write_bundle", "write_report"),
    ),
}
STAGE_OF = {rule: stage for stage, rules in STAGES.items() for rule in rules}
OTHER = "other work"
START_SECONDS = 4.0  # to start Python, import torch and load a small recogniser
ALONE = ("evaluate_engine", "time_engines")  # the rules whose jobs take all cores


SEARCHING = (  # the rules that recognise calibration audio
    *("equalise_channels", "choose_massive_channels", "choose_attention", "round_weights", "recognise_reference"),
    *("screen_layers", "probe_layer", "search_percentile", "check_combination"),
)
TEACHING = ("recognise_reference", "probe_layer", "search_percentile")  # their time is that of their passes
ENGINE_PASS = 0.3  # time of an engine for some audio, on all cores, in that of the search, on one


@dataclass(frozen=True)
class Amount:
    """How much a model's jobs have to do.

    Attributes
    ----------
    layers: layers that are quantized
    calibration, evaluation: seconds of audio in the splits
    methods: methods whose engines are compared
    with_outputs: layers of which outputs may be quantized
    """

    layers: int
    calibration: float
    evaluation: float
    methods: int
    with_outputs: int


def passes_by_rule(config: Mapping[str, Any], procedure: Procedure, amount: Amount) -> dict[str, float]:
    """Passes over the calibration split that a job of a rule takes, about. ``config`` was checked.

    A probe and a search resume from hidden values on disk where there are some; about half of their passes remain. Of
    `choose_massive_channels`, it is what it takes where some activations have such channels. With a screened search it
    is the most that a search takes.
    """

    def part(seconds: float) -> float:
        """A part of the calibration split in passes."""
        return min(1.0, seconds / amount.calibration)

    resumed = 0.6 if config["cache"]["disk_mb"] else 1.0
    screened, screen = config["search"] == "screened", part(config["screening"]["audio_seconds"])
    cutoffs = len(config["percentiles"])
    equalisation, massive, attention = procedure.equalisation, procedure.massive_channels, procedure.attention
    rounding, combination, timing = procedure.rounding, procedure.combination, config["timing"]
    timed = 2 * timing["rounds"] * (amount.methods + 1) * min(timing["audio_seconds"], amount.evaluation)
    return {
        "equalise_channels": part(equalisation.audio_seconds) if equalisation else 0.0,
        "choose_massive_channels": 3 * part(massive.audio_seconds) if massive else 0.0,
        "choose_attention": (2 + amount.with_outputs) * part(attention.audio_seconds)
        if attention and amount.with_outputs
        else 0.0,
        "round_weights": part(rounding.audio_seconds) if rounding else 0.0,
        "recognise_reference": 1.5,
        "screen_layers": 0.6 * amount.layers * screen,
        "probe_layer": resumed * layers_per_job(config),
        "search_percentile": resumed * (cutoffs + ((cutoffs + 1) * screen if screened else 0)),
        "check_combination": 3 + (cutoffs + 1) * part(combination.audio_seconds) if combination else 0.0,
        "evaluate_engine": ENGINE_PASS * amount.evaluation / amount.calibration,
        "time_engines": ENGINE_PASS * timed / amount.calibration,
    }


def layers_per_job(config: Mapping[str, Any]) -> int:
    """Layers that a job probes; with a screened search it is one."""
    return 1 if config["search"] == "screened" else int(config["probe"]["layers_per_job"])


class Estimate(NamedTuple):
    """Passes over the calibration split that a job takes, by rule, and the seconds of one; None if not known yet."""

    passes: Mapping[str, float]
    seconds_per_pass: float | None


def estimate_of(passes: Sequence[Mapping[str, float]], models: Iterable[str]) -> Estimate | None:
    """The mean of several models, by the ``passes`` of each; None if nothing is known of them yet."""
    if not passes:
        return None
    return Estimate({rule: fmean(found[rule] for found in passes) for rule in passes[0]}, seconds_per_pass(models))


def seconds_per_pass(models: Iterable[str]) -> float | None:
    """Seconds of a pass over the calibration split, where `measure_speed` timed it; the mean of several models."""
    files = [file for model in models if (file := Path(f"results/{model}/speed.json")).is_file()]
    found = [float(json.loads(file.read_text(encoding="utf-8"))["pass_seconds"]) for file in files]
    return sum(found) / len(found) if found else None


def stage_of(rule: str) -> str:
    """The stage of a rule."""
    return STAGE_OF.get(rule, OTHER)


class Pace:
    """How fast a run advances, learned from the jobs that ended.

    A job is expected to take as long as others of its rule took. Where none ended, it takes a start and its passes over
    the calibration split at the pace of the passes so far.
    """

    def __init__(self, estimate: Callable[[], Estimate | None], cores: int) -> None:
        """``estimate`` is asked anew each time, as more becomes known while a run goes on."""
        self._estimate = estimate
        self._cores = max(cores, 1)
        self._seconds: dict[str, list[float]] = {}

    def ended(self, rule: str, seconds: float) -> None:
        """A job of ``rule`` took ``seconds``."""
        self._seconds.setdefault(rule, []).append(seconds)

    def seconds_left(self, pending: Iterable[str]) -> float | None:
        """Seconds until jobs of the rules ``pending`` are done; None while too little is known."""
        estimate = self._estimate()
        if estimate is None:
            return None
        jobs, per_pass = Counter(pending), self._seconds_per_pass(estimate)
        if per_pass is None and any(estimate.passes.get(rule) and rule not in self._seconds for rule in jobs):
            return None
        expected = {rule: self._expected(rule, estimate.passes.get(rule, 0.0), per_pass or 0.0) for rule in jobs}
        return sum(seconds * self._turns(rule, jobs[rule]) for rule, seconds in expected.items())

    def _turns(self, rule: str, jobs: int) -> float:
        """How many times its jobs follow each other. Long jobs of different rules wait for each other, too."""
        if rule in ALONE:
            return jobs
        return math.ceil(jobs / self._cores) if rule in SEARCHING else jobs / self._cores

    def _expected(self, rule: str, passes: float, per_pass: float) -> float:
        if rule in self._seconds:
            return fmean(self._seconds[rule])
        return START_SECONDS + passes * per_pass

    def _seconds_per_pass(self, estimate: Estimate) -> float | None:
        found = {rule: self._seconds[rule] for rule in TEACHING if rule in self._seconds}
        passes = sum(estimate.passes[rule] * len(seconds) for rule, seconds in found.items())
        if passes < 0.5:
            return estimate.seconds_per_pass
        return sum(max(0.0, one - START_SECONDS) for seconds in found.values() for one in seconds) / passes


def duration(seconds: float) -> str:
    """``seconds`` for people: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
