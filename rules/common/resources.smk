# What jobs ask for: a GPU, cores, memory and time.

from functools import cache
from pathlib import Path

from stablequant.engines.backend import BACKENDS
from stablequant.recognisers import sources
from stablequant.recognisers.registry import family_of
from stablequant.workflow.fan_out import layers_of
from stablequant.workflow.not_yet import not_yet
from stablequant.workflow.resources import HUB_BYTES, audio_seconds, file_bytes, has_gpu, memory_mb, runtime_minutes

COMBINATION_PASSES = (config["combination"]["suspects"] + 2) * (len(config["percentiles"]) + 3)  # at most
LAYERS_AT_MOST = 40  # of a checkpoint that was not imported yet, to estimate its jobs


def gpus(_wildcards):
    """1 for a job whose torch is to run on a GPU, else nothing. What `auto` finds is known only of this machine."""
    found = config["device"] == "auto" and workflow.is_main_process and workflow.local_exec and has_gpu()
    return 1 if found or config["device"] == "cuda" else None


def gpu_to_build(wildcards):
    """The same for a job that builds an engine, if its backend builds on a GPU."""
    return gpus(wildcards) if BACKENDS[wildcards.backend].gpu_builds else None


def gpu_to_run(wildcards):
    """The same for a job that runs engines, if their backend runs them on a GPU."""
    return gpus(wildcards) if BACKENDS[wildcards.backend].gpu_runs else None


def gpu_here(wildcards):
    """Whether an engine that runs on a GPU finds one: where it was not run for want of one, it runs when there is one.

    In a dictionary, since Snakemake compares the values of all parameters without their names.
    """
    return {"gpu": BACKENDS[wildcards.backend].gpu_runs and has_gpu()}


def cores_to_judge_on(wildcards):
    """All cores for an engine that is timed; one for an engine that needs a GPU where there is none: it is not run."""
    idle = BACKENDS[wildcards.backend].gpu_runs and workflow.local_exec and not has_gpu()
    return 1 if idle else workflow.cores


def model_bytes(model):
    """Size of a model's checkpoint; of one on the hub a guess until it is downloaded."""
    if not is_on_hub(model):
        settings = config["models"][model]
        return file_bytes(sources.loaded_files(settings["checkpoint"], settings.get("target_lang")))
    try:
        return download_of(model)["bytes"]
    except OSError:
        return HUB_BYTES


def memory(copies):
    """Memory of a job that holds the checkpoint ``copies`` times, which may be a function of the model."""

    def megabytes(wildcards, attempt):
        times = copies(wildcards.model) if callable(copies) else copies
        return memory_mb(model_bytes(wildcards.model), times, config["batch_mb"], attempt)

    return megabytes


def runtime(passes=0, gpu=False):
    """Time of a job that recognises its utterances ``passes`` times, on a GPU if it may and there is one.

    ``passes`` may be a function of the model. None in a job's own process, which has its time already.
    """

    def minutes(wildcards, input, attempt):
        if not workflow.is_main_process:
            return None
        times = passes(wildcards.model) if callable(passes) else passes
        heard = times * heard_seconds(wildcards, input) if times else 0
        on_gpu = gpu and gpus(wildcards) is not None
        return runtime_minutes(model_bytes(wildcards.model), heard, on_gpu, attempt)

    return minutes


def runtime_of_timing(wildcards, attempt):
    """Time of the job that times the engines of a backend."""
    return runtime_minutes(model_bytes(wildcards.model), timed_seconds(wildcards.model), False, attempt)


def timed_seconds(model):
    """Length of the audio that all engines of a backend recognise to be timed."""
    engines = len(METHODS[model]) + 1  # fp32 is loaded twice
    return 2 * engines * config["timing"]["rounds"] * config["timing"]["audio_seconds"]


@not_yet
def heard_seconds(wildcards, input):
    """Length of a job's utterances."""
    imported = Path(f"results/{wildcards.model}/checkpoint")
    table = Path(input.utterances)
    return length_of(table, table.stat().st_mtime_ns, family_of(imported).sample_rate(imported))


@cache
def length_of(table, _modified, sample_rate):
    """Seconds of the utterances in a table, which is read once for all jobs."""
    return audio_seconds(table, sample_rate)


def reference_passes(model):
    """fp32's own pass, and those that verify what is kept or computed in reduced precision."""
    table = Path(f"results/{model}/layers.tsv")
    layers = len(layers_of(table)) if table.is_file() else LAYERS_AT_MOST
    return 1 + (config["precision"] != "float32") + config["cache"]["half"] * layers / 2
