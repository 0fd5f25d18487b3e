# Config and what rules ask of it. Nothing heavy is imported here: every cluster job parses this file again.

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}  # for the jobs

from stablequant import digest
from stablequant.config import validate_config
from stablequant.errors import StableQuantError
from stablequant.layers import layer_names
from stablequant.manifests import read_manifest

if " " in sys.executable:
    raise WorkflowError(f"{sys.executable}: Snakemake cannot start jobs from a path with a space; move the project")
try:
    validate_config(config, ROOT / "config.schema.yaml")
    for settings in config["models"].values():
        for split in ("calibration", "evaluation"):
            read_manifest(Path(settings[split]))
except StableQuantError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    model="[A-Za-z0-9][A-Za-z0-9._-]*",
    split="calibration|evaluation",
    layer="[a-z]+[0-9]*",
    method="fp32|max|percentile|entropy|mse|stablequant",
    backend="openvino|tensorrt-rtx",


def code_digest(script):
    """Digest of a script and of all project modules it runs: as a parameter it reruns the stage when they change."""
    return digest.code_digest(ROOT / "scripts" / f"{script}.py", ROOT)


def checkpoint_files(wildcards):
    """Files of a local checkpoint, so that a change of any reruns what follows."""
    folder = Path(config["models"][wildcards.model]["checkpoint"])
    return sorted(str(file) for file in folder.iterdir() if file.is_file())


def layers_of(model):
    """Names of a model's layers, from its local config.json or else from the config's `layers`."""
    settings = config["models"][model]
    file = Path(settings["checkpoint"]) / "config.json"
    if not file.is_file():
        if "layers" not in settings:
            raise WorkflowError(f"{file}: the file does not exist; correct models: {model}: checkpoint in the config")
        return layer_names(**settings["layers"])
    try:
        shape = json.loads(file.read_text())
        return layer_names(len(shape["conv_dim"]), shape["num_hidden_layers"])
    except (ValueError, KeyError, TypeError) as fault:
        raise WorkflowError(f"{file}: not the config of a wav2vec 2.0 or HuBERT checkpoint ({fault!r}); restore it")


def searched_percentiles(wildcards):
    """Searches of the layers that the selection names."""
    with checkpoints.select_layers.get(model=wildcards.model).output[0].open() as table:
        header = table.readline().rstrip("\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\n").split("\t"))) for line in table]
    selected = [row["layer"] for row in rows if row["selected"] == "True"]
    return expand("results/{model}/percentiles/{layer}.json", model=wildcards.model, layer=selected)


def percentiles_of_method(wildcards):
    """The searches that a method builds on; the plain calibrations need none, so they never wait."""
    return searched_percentiles(wildcards) if wildcards.method == "stablequant" else []


for model in config["models"]:
    layers_of(model)  # a checkpoint that is not there stops the run here
