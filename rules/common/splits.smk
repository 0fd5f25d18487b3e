# The two splits of a model: their manifests, their audio, and how much of it is used.

from functools import cache
from pathlib import Path

from stablequant.corpora.folders import TRANSCRIPTS
from stablequant.corpora.manifests import siblings
from stablequant.workflow.fingerprint import fingerprint, fingerprint_with


def manifest_files(wildcards):
    """A split's manifest, made by `write_manifest` where the config names a folder, and the transcripts beside it."""
    manifest = Path(config["models"][wildcards.model][wildcards.split])
    if manifest.is_dir():
        return f"results/{wildcards.model}/manifests/{wildcards.split}.tsv"
    return [str(file) for file in (manifest, *siblings(manifest))]


def audio_of_split(wildcards):
    """Fingerprint of a split's files: as a parameter it lists the split anew when one was changed under its name.

    None in a job's own process: the main process compares and records parameters.
    """
    return audio_of(wildcards.model, wildcards.split) if workflow.is_main_process else None


@cache
def audio_of(model, name):
    """The same, looked at once."""
    settings = config["models"][model]
    split = Path(settings[name])
    listed = [] if split.is_dir() else [split, *siblings(split)]
    return fingerprint(listed) + fingerprint_with(manifest_of_split(settings, name).files(), TRANSCRIPTS)


def audio_root(wildcards):
    """What takes the place of the root that a split's manifest names; a folder is its own root."""
    settings = config["models"][wildcards.model]
    return None if Path(settings[wildcards.split]).is_dir() else settings.get("audio_root")


def part_of_split(wildcards):
    """How much of a split is used, and the seed that draws it; None for all of it."""
    if wildcards.split != "calibration" or config["calibration_seconds"] is None:
        return None
    return {"seconds": config["calibration_seconds"], "seed": config["seed"]}
