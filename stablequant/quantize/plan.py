"""What a run will do and take, told before it starts."""

import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablequant.corpora.utterance import read_utterances
from stablequant.errors import StableQuantError
from stablequant.quantize.run import memory_here
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import read_json
from stablequant.workflow.fan_out import layers_of, layers_with_outputs
from stablequant.workflow.procedure import read_procedure
from stablequant.workflow.resources import MB, memory_mb
from stablequant.workflow.stages import (
    SEARCHING,
    STAGES,
    START_SECONDS,
    Amount,
    Estimate,
    Pace,
    duration,
    layers_per_job,
    passes_by_rule,
)

INT8_SHARE = 0.3  # of a float32 file's size that an INT8 one has, at most
DONE = {*STAGES["checkpoint"], *STAGES["audio"]}  # rules whose jobs ended when a plan is made
SHORTER = "              shorter: --search screened --racing, which recognise only what leaves doubt"
FILES = ("layers.tsv", "utterances/calibration.tsv", "utterances/evaluation.tsv", "speed.json")  # it is read from


@dataclass(frozen=True)
class SplitSize:
    """How much audio a split has."""

    utterances: int
    words: int
    seconds: float
    speakers: int | None

    def __str__(self) -> str:
        heard = duration(self.seconds) if self.seconds >= 90 else f"{self.seconds:.0f} s"
        speakers = "" if self.speakers is None else f", {self.speakers} speaker{'s' if self.speakers > 1 else ''}"
        return f"{heard}, {self.utterances} utterances, {self.words} words{speakers}"


@dataclass(frozen=True)
class Plan:
    """What a run will take, from its start.

    Attributes
    ----------
    layers: layers that are quantized
    calibration, evaluation: the splits
    engines, methods: what is built
    threshold: points of WER a layer may lose alone
    percentiles: cut-offs tried for a layer that loses more
    screen_seconds: seconds of audio by which a screened search chooses what to recognise; None if it is exhaustive
    racing: whether a test ends once more audio can hardly change the answer
    passes: recognitions of the calibration split if no layer must be searched
    passes_per_search: further ones for each layer that must
    seconds, seconds_per_search: time for these
    job_mb, jobs: memory of a job in megabytes, and jobs at once
    disk_mb, kept_mb: megabytes of disk while it runs, and afterwards
    free_mb: free megabytes of that disk
    """

    layers: int
    calibration: SplitSize
    evaluation: SplitSize
    engines: list[str]
    methods: list[str]
    threshold: float
    percentiles: int
    screen_seconds: float | None
    racing: bool
    passes: float
    passes_per_search: float
    seconds: float
    seconds_per_search: float
    job_mb: int
    jobs: int
    disk_mb: float
    kept_mb: float
    free_mb: float

    def lines(self) -> list[str]:
        """For people."""
        at_once = f"{self.jobs} job{'s' if self.jobs > 1 else ''} at once"
        searching, memory = duration(self.seconds_per_search), memory_here() / 1000
        about, alone = "about", "each is quantized alone"
        if self.racing or self.screen_seconds is not None:
            about = "at most about"
        if self.screen_seconds is not None:
            alone += f" on {self.screen_seconds:g} s of audio, and on all of it where that leaves doubt"
        shorter = [] if self.racing or self.screen_seconds is not None else [SHORTER]
        return [
            f"layers        {self.layers}; {alone}, and one that loses more than {self.threshold:g} points of WER is "
            f"searched with {self.percentiles} cut-offs",
            f"calibration   {self.calibration}",
            f"evaluation    {self.evaluation}",
            f"engines       {', '.join(self.engines)}: {', '.join(self.methods)}",
            f"passes        {about} {self.passes:.0f} over the calibration audio, and {self.passes_per_search:.0f} "
            "more for each layer that is searched",
            f"time          {about} {duration(self.seconds)}, and {searching} more for each layer that is searched "
            f"({at_once}, timed on this machine)",
            *shorter,
            f"memory        up to {self.job_mb / 1000:.1f} GB for a job; this machine has {memory:.1f} GB",
            f"disk          up to {self.disk_mb / 1000:.1f} GB while it runs, {self.kept_mb / 1000:.1f} GB afterwards; "
            f"{self.free_mb / 1000:.0f} GB are free",
        ]


def split_size(table: Path, sample_rate: int) -> SplitSize:
    """The size of the split in ``utterances/{split}.tsv``."""
    listed = read_utterances(table)
    speakers = {u.speaker for u in listed}
    return SplitSize(
        len(listed),
        sum(len(u.transcript.split()) for u in listed),
        sum(u.samples for u in listed) / sample_rate,
        None if None in speakers else len(speakers),
    )


def make_plan(results: Path, model: Mapping[str, Any], config: Mapping[str, Any], cores: int) -> Plan:
    """The plan of a model whose `FILES` lie in ``results``. ``model`` is its block of ``config``, which is complete.

    Raises `StableQuantError` if the disk has no space for it.
    """
    checkpoint = results / "checkpoint"
    rate = family_of(checkpoint).sample_rate(checkpoint)
    layers, with_outputs = (len(find(results / "layers.tsv")) for find in (layers_of, layers_with_outputs))
    calibration, evaluation = (
        split_size(results / f"utterances/{split}.tsv", rate) for split in ("calibration", "evaluation")
    )
    engines, methods = (list(model.get(key, config[key])) for key in ("engines", "methods"))
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    job_mb = memory_mb(size, 2, config["batch_mb"], 1)
    jobs = max(1, min(cores, memory_here() // job_mb))

    screened = config["search"] == "screened"
    procedure = read_procedure(config, model.get("procedure", config["procedure"]))
    passes = passes_by_rule(
        config, procedure, Amount(layers, calibration.seconds, evaluation.seconds, len(methods), with_outputs)
    )
    ahead = _jobs(math.ceil(layers / layers_per_job(config)), screened, len(engines), len(methods))
    one = float(read_json(results / "speed.json")["pass_seconds"])
    pace = Pace(lambda: Estimate(passes, one), jobs)
    sizes = _sizes(size / MB, engines, methods)
    kept = sum(sizes.values())
    missing = sum(mb for name, mb in sizes.items() if not (results / name).exists())
    free = shutil.disk_usage(results).free / MB
    if free < missing:
        raise StableQuantError(
            results,
            f"only {free:.0f} MB are free, but what is still to be written needs about {missing:.0f} MB",
            "free some, or use --out",
        )
    return Plan(
        layers=layers,
        calibration=calibration,
        evaluation=evaluation,
        engines=engines,
        methods=methods,
        threshold=config["threshold"],
        percentiles=len(config["percentiles"]),
        screen_seconds=config["screening"]["audio_seconds"] if screened else None,
        racing=config["racing"]["enabled"],
        passes=sum(passes[rule] * count for rule, count in ahead.items() if rule in SEARCHING),
        passes_per_search=passes["search_percentile"],
        seconds=pace.seconds_left(ahead.elements()) or 0.0,
        seconds_per_search=(passes["search_percentile"] * one + START_SECONDS) / jobs,
        job_mb=job_mb,
        jobs=jobs,
        disk_mb=kept + config["cache"]["disk_mb"],
        kept_mb=kept,
        free_mb=free,
    )


def _jobs(probes: int, screened: bool, engines: int, methods: int) -> Counter[str]:
    """Jobs of a run by rule, if no layer must be searched; with a screen, if each must be recognised in full."""
    once = [rule for rules in STAGES.values() for rule in rules if rule not in DONE]
    several = {
        "probe_layer": probes,
        "screen_layers": int(screened),
        "plan_probes": int(screened),
        "search_percentile": 0,
        "plot_peers": 0,
        **dict.fromkeys(("optimise_scales", "insert_qdq"), methods - 1),
        **dict.fromkeys(("build_engine", "evaluate_engine"), engines * methods),
        "time_engines": engines,
    }
    return Counter(dict.fromkeys(once, 1) | several)


def _sizes(checkpoint: float, engines: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """Megabytes of what a run writes, at most, by its place in the results. ``checkpoint`` is in megabytes."""
    shares = {method: 1.0 if method == "fp32" else INT8_SHARE for method in methods}
    sizes = {"checkpoint": 1.0, "bundle": INT8_SHARE * (1 + len(engines))}
    sizes |= {f"onnx/{method}.onnx": share for method, share in shares.items()}
    sizes |= {f"engines/{name}/{method}": share for name in engines for method, share in shares.items()}
    return {name: share * checkpoint for name, share in sizes.items()}
