"""The part `search` of `gpu.py`: the demo by the workflow, searched on the GPU."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from project import PROJECT
from gpu import FOLDER
from gpu_setting import BATCH_MB, DEVICE, GPU, THREADS, fresh, row
from gpu_tensorrt import backends, capability
from utterance_tables import DEMO

from stablequant.storage.files import read_table

REHEARSED = 6  # utterances of a split in a rehearsal
MOST_LOST = 0.25  # points of WER that StableQuant may lose on the demo


def search() -> Iterator[dict]:
    """The demo through Snakemake, searched on the GPU, from the checkpoint to the words of TensorRT's engines."""
    folder = fresh(FOLDER / "search")
    splits = {}
    for split, speech in DEMO.items():
        manifest = folder / f"{split}.tsv"
        lines = speech.read_text().splitlines()
        listed = lines[1:] if GPU else lines[1 : 1 + REHEARSED]
        manifest.write_text("\n".join([str(PROJECT / lines[0]), *listed]) + "\n")
        splits[split] = str(manifest)
    overlay = folder / "config.yaml"
    overlay.write_text(yaml.safe_dump(search_settings(splits, list(backends()))))
    results = PROJECT / "results/demo-gpu"
    shutil.rmtree(results, ignore_errors=True)
    # Whoever ends this part at its limit leaves a lock; nothing else writes these results.
    command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", str(THREADS), "--resources", "gpu=1"]
    start = time.perf_counter()
    status = subprocess.call([*command, "--configfile", overlay, "--", "results/demo-gpu/comparison.tsv"], cwd=PROJECT)
    if status:
        sys.exit(status)  # what Snakemake said last is the reason
    yield row("demo", "checkpoint to table", time.perf_counter() - start, "s")
    yield from found_in(results)


def found_in(results: Path) -> Iterator[dict]:
    """The selected layers of a model, and what each of its engines recognised, from its folder of results."""
    found = read_table(results / "sensitivity.tsv")
    chosen = found.loc[found["selected"].astype(bool), "layer"]
    yield row("demo", "searched layers", " ".join(chosen) or "none")
    for engine in read_table(results / "comparison.tsv").itertuples():
        case = f"demo, {engine.backend} {engine.method}"
        if np.isnan(engine.wer):
            yield {"case": case, "error": engine.status}
            continue
        yield row(case, "WER", engine.wer, "%")
        yield row(case, "speed", engine.rtfx, "s of audio per s")
        if engine.method != "fp32":
            yield row(case, "lost against fp32", engine.degradation, "points", MOST_LOST)


def search_settings(splits: Mapping[str, str], backends: Sequence[str]) -> dict[str, Any]:
    """The config of the `search`, beside the defaults; ``splits`` are the manifests by their names in it."""
    settings: dict[str, Any] = {
        "models": {"demo": None, "demo-gpu": {"checkpoint": "resources/demo/model", **splits}},
        "methods": ["fp32", "stablequant"],
        "engines": [*backends, "openvino"],
        "tensorrt": {"compute_capabilities": [capability()]},
        "device": DEVICE,
        "batch_mb": BATCH_MB,
        "probe": {"layers_per_job": 100},
    }
    if not GPU:
        settings |= {"percentiles": [99.9], "max_reference_wer": None}
    return settings
