"""The stages of a run as a person sees them, and an estimate of the time that is left."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

STAGES: Mapping[str, Sequence[str]] = {  # each ends with a rule that gathers, so that its end is known from the start
    "checkpoint": ("download_checkpoint", "import_checkpoint"),
    "audio": ("write_manifest", "list_utterances", "measure_speed"),
    "channels and weights": ("equalise_channels", "choose_massive_channels", "round_weights"),
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


def passes_by_rule(config: Mapping[str, Any]) -> dict[str, float]:
    """Passes over the calibration split that a job of a rule takes, about. ``config`` was checked.

    A probe and a search resume from hidden values on disk where there are some; about half of their passes remain.
    """
    resumed = 0.6 if config["cache"]["disk_mb"] else 1.0
    return {
        "recognise_reference": 1.5,
        "probe_layer": resumed * config["probe"]["layers_per_job"],
        "search_percentile": resumed * len(config["percentiles"]),
        "check_combination": 3.0 if config["combination"]["enabled"] else 0.0,
        "evaluate_engine": 0.3,  # engines are faster than the search
    }


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

    def __init__(self, passes: Mapping[str, float], cores: int, seconds_per_pass: float | None = None) -> None:
        """``passes`` are those of a job, by rule, see `passes_by_rule`; ``seconds_per_pass`` is what is known yet."""
        self._passes = passes
        self._cores = max(cores, 1)
        self._known = seconds_per_pass
        self._seconds: dict[str, list[float]] = {}

    def ended(self, rule: str, seconds: float) -> None:
        """A job of ``rule`` took ``seconds``."""
        self._seconds.setdefault(rule, []).append(seconds)

    def seconds_left(self, pending: Iterable[str]) -> float | None:
        """Seconds until jobs of the rules ``pending`` are done; None while too little is known."""
        jobs = list(pending)
        per_pass = self._seconds_per_pass()
        if per_pass is None and any(self._passes.get(rule) and rule not in self._seconds for rule in jobs):
            return None
        return sum(self._expected(rule, per_pass or 0.0) / (1 if rule in ALONE else self._cores) for rule in jobs)

    def _expected(self, rule: str, per_pass: float) -> float:
        if rule in self._seconds:
            return sum(self._seconds[rule]) / len(self._seconds[rule])
        return START_SECONDS + self._passes.get(rule, 0.0) * per_pass

    def _seconds_per_pass(self) -> float | None:
        passes = sum(self._passes.get(rule, 0.0) * len(found) for rule, found in self._seconds.items())
        if passes < 0.5:
            return self._known
        spent = sum(
            max(0.0, seconds - START_SECONDS)
            for rule, found in self._seconds.items()
            if self._passes.get(rule)
            for seconds in found
        )
        return spent / passes


def duration(seconds: float) -> str:
    """``seconds`` for people: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
