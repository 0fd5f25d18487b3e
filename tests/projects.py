"""Folders in which the workflow runs: a tiny recogniser, a few utterances and a config."""

import shutil
from pathlib import Path

import yaml
from checkout import PROJECT
from listing import write_speech
from recognising import Loaded, heard, torch_network
from wav2vec2_files import FEW_LAYERS, write_tiny_checkpoint

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest

TINY_CONFIG = {
    "methods": ["fp32", "max", "stablequant"],
    "percentiles": [99.9, 99.0],
    "engines": ["openvino"],
    "timing": {"audio_seconds": 6, "rounds": 2},
    "bundle_samples": 5,
    "threshold": 0,
    "max_reference_wer": None,
    "models": {
        "tiny": {
            "checkpoint": "model",
            "calibration": "tsv/calibration.tsv",
            "evaluation": "tsv/evaluation.tsv",
            "peers": "benchmarks/peers.tsv",
        }
    },
}


def copy_project(folder: Path) -> Path:
    """What the workflow needs of the project, without the demo's audio."""
    for name in ("rules", "scripts", "stablequant", "envs", "profiles", "presets"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml", "config.schema.yaml"):
        shutil.copyfile(PROJECT / name, folder / name)
    (folder / "benchmarks").mkdir()
    shutil.copyfile(PROJECT / "benchmarks/peers.tsv", folder / "benchmarks/peers.tsv")
    return folder


def write_tiny_project(folder: Path, **changes) -> Path:
    """A project whose whole DAG runs in little time, on a tiny random recogniser and few utterances."""
    copy_project(folder)
    write_tiny_checkpoint(folder / "model", **FEW_LAYERS | changes)
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / "tsv" / f"{split}.tsv", 6, split)
    peers = folder / "benchmarks/peers.tsv"
    peers.write_text(peers.read_text().replace("demo\t", "tiny\t"))
    take_its_words_for_the_truth(folder / "model", folder / "tsv/calibration.tsv")
    configure(folder, **TINY_CONFIG)
    return folder


def take_its_words_for_the_truth(checkpoint: Path, manifest: Path) -> None:
    """Make a random recogniser perfect, so that every word that quantization changes is one lost."""
    loaded = Loaded.load(checkpoint)
    utterances, _ = list_utterances(read_manifest(manifest), loaded.front_end)
    hypotheses = heard(loaded, torch_network(loaded.model), utterances)
    manifest.with_suffix(".wrd").write_text("".join(f"{hypotheses[u.path]}\n" for u in utterances))


def configure(folder: Path, **changes) -> None:
    """Set keys of a project's config."""
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | changes))
