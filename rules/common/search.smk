# The search: its settings, the jobs that probe layers, and the layers that are searched.

import itertools
import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from stablequant.recognisers.modules import LAYER
from stablequant.workflow.fan_out import jobs_of_layers, layers_of, layers_with_outputs, selected_layers
from stablequant.workflow.stages import layers_per_job

CONFIDENCE = config["racing"]["confidence"] if config["racing"]["enabled"] else None
IS_SCREENED = config["search"] == "screened"
LAYERS_PER_JOB = layers_per_job(config)


def procedure(wildcards):
    """The steps that a model's procedure adds to the paper's."""
    return PROCEDURES[wildcards.model]


def step(name):
    """A step of the model's procedure, or None, in a dictionary by its name.

    Snakemake ignores objects of other types when it compares parameters, and compares their values without their names.
    """
    return lambda wildcards: {name: getattr(procedure(wildcards), name)}


def massive_channels(wildcards):
    """How massive channels are searched, with the other settings that this depends on; None where they are not."""
    found = procedure(wildcards)
    if found.massive_channels is None:
        return None
    return {"massive_channels": found.massive_channels, "recentre": found.recentre}


def attention_of_model(wildcards):
    """Where attention is computed in INT8, of a model in which that may be and whose procedure looks for it."""
    if procedure(wildcards).attention is None:
        return []
    table = Path(checkpoints.import_checkpoint.get(model=wildcards.model).output.layers)
    return f"results/{wildcards.model}/attention.tsv" if layers_with_outputs(table) else []


def probe_jobs(model):
    """Layers by the job that probes them, once the checkpoint was imported."""
    table = Path(checkpoints.import_checkpoint.get(model=model).output.layers)
    return jobs_of_layers(layers_of(table), LAYERS_PER_JOB)


def probes(wildcards):
    """What the jobs measured that probe layers: all, or with a screen those that its rounds name."""
    jobs = planned_probes(wildcards.model) if IS_SCREENED else probe_jobs(wildcards.model)
    return expand("results/{model}/sensitivity/{layers}.json", model=wildcards.model, layers=jobs)


def round_of_probes(model, number):
    """Layers that a round of the screen has named, and whether all of them were recognised before."""
    plan = checkpoints.plan_probes.get(model=model, round=number).output[0]
    return json.loads(Path(plan).read_text(encoding="utf-8"))


def planned_probes(model):
    """Layers to recognise in full: those of the last round."""
    for number in itertools.count(1):
        plan = round_of_probes(model, number)
        if plan["complete"]:
            return plan["layers"]


def probes_before(wildcards):
    """What the probes measured that the rounds before have named."""
    number = int(wildcards.round)
    layers = round_of_probes(wildcards.model, number - 1)["layers"] if number > 1 else []
    return expand("results/{model}/sensitivity/{layers}.json", model=wildcards.model, layers=layers)


def screen_of_model(wildcards):
    """What the screen measured, if there is one."""
    return f"results/{wildcards.model}/screen.json" if IS_SCREENED else []


def probed_layers(wildcards, input):
    """Layers that one job probes."""
    jobs = jobs_of_layers(layers_of(Path(input.layers)), LAYERS_PER_JOB)
    if wildcards.layers not in jobs:
        raise WorkflowError(f"{wildcards.layers}: no job probes that; the jobs of {wildcards.model}: {', '.join(jobs)}")
    return jobs[wildcards.layers]


def probe_of_layer(wildcards):
    """What the job measured that probed the layer."""
    jobs = probe_jobs(wildcards.model).items()
    job = next((job for job, layers in jobs if wildcards.layer in layers), None)
    if job is None:
        raise WorkflowError(f"{wildcards.layer}: {wildcards.model} has no such layer")
    return f"results/{wildcards.model}/sensitivity/{job}.json"


def searched_percentiles(wildcards):
    """Searches of the layers that the selection names."""
    table = Path(checkpoints.select_layers.get(model=wildcards.model).output[0])
    return expand("results/{model}/percentiles/{layer}.json", model=wildcards.model, layer=selected_layers(table))


def scales_of_method(wildcards):
    """What a method's scales are chosen from; the plain calibrations need no percentiles, so they never wait."""
    results = f"results/{wildcards.model}"
    if wildcards.method == "stablequant":
        return {"histograms": f"{results}/prepared_histograms.safetensors", "choice": f"{results}/combination.json"}
    return {"histograms": f"{results}/histograms.safetensors"}
