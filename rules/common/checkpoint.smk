# A model's checkpoint, in a folder or on the hub, and the family it belongs to.

import json
from pathlib import Path

from stablequant.recognisers import sources
from stablequant.recognisers.registry import family_of, family_of_config, heads_by_kind
from stablequant.workflow.fingerprint import fingerprint
from stablequant.workflow.not_yet import not_yet


def is_on_hub(model):
    """Whether a model's checkpoint is downloaded from the hub."""
    return sources.is_hub_identifier(config["models"][model]["checkpoint"])


def download_of(model):
    """What `download_checkpoint` found of a checkpoint on the hub; raises FileNotFoundError before."""
    return json.loads(Path(f"results/{model}/download.json").read_text(encoding="utf-8"))


def family_of_model(model):
    """Name of the family of a model's checkpoint."""
    if is_on_hub(model):
        return family_of_config(download_of(model)["config"], Path(f"results/{model}/download.json")).name
    return family_of(Path(config["models"][model]["checkpoint"])).name


def language(wildcards):
    """The language whose adapter is taken, of a checkpoint with several."""
    return config["models"][wildcards.model].get("target_lang")


def checkpoint_files(wildcards):
    """Files of a local checkpoint, so that a change of any reruns what follows, or what the hub gave."""
    if is_on_hub(wildcards.model):
        return [f"results/{wildcards.model}/download.json"]
    return sources.checkpoint_files(config["models"][wildcards.model]["checkpoint"], language(wildcards))


@not_yet
def checkpoint_source(wildcards, input):
    """Where the checkpoint is imported from; the hub's with its exact revision."""
    if is_on_hub(wildcards.model):
        return download_of(wildcards.model)["source"]
    return config["models"][wildcards.model]["checkpoint"]
