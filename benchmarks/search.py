"""What the search costs, naive, resuming from stored activations, and racing: ``python benchmarks/search.py --out FILE``.

Each mode is a process of its own; they take turns layer by layer, so that a drifting machine slows all alike. *Passes* are
multiply-accumulates in units of one pass over the audio. Naive recognises all audio anew for every layer and every cut-off
percentile. The demo's speech and recogniser are those of the project (synthesised speech); ``hubert-large-shape`` is a
network of HuBERT large's shape with random weights, see ``random_large.py``.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "benchmarks")]

from random_large import write_random_large

from stablequant.activations import Activations
from stablequant.checkpoint import import_checkpoint
from stablequant.costs import layer_costs, passes
from stablequant.files import write_table
from stablequant.front_end import read_front_end
from stablequant.layers import layer_names_of, quantized_modules
from stablequant.manifests import read_manifest
from stablequant.percentiles import search_percentile
from stablequant.racing import Racing
from stablequant.recogniser import load_recogniser
from stablequant.reference import Files, load_reference, read_split, recognise_reference
from stablequant.sensitivity import probe_layers
from stablequant.stages import Stages
from stablequant.trials import Calibration
from stablequant.utterances import Utterance, list_utterances, table_of

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
MODES = ("naive", "prefix", "racing")
DEV_CLEAN_HOURS = 5.4
SELECTED = 4  # layers that the paper's searches are assumed for


class Mode:
    """One way to search, in a process of its own: each method is one step, which the benchmark times."""

    def __init__(self, mode: str, checkpoint: Path, utterances: Path, folder: Path, threads: int, seed: int) -> None:
        self.mode = mode
        self.stages = Stages(load_recogniser(checkpoint, "cpu", threads=threads))
        self.modules = quantized_modules(self.stages.model.config.to_dict())
        self.costs = layer_costs(self.stages)
        self.split = read_split(checkpoint, utterances, CONFIG["batch_mb"], seed)
        self.files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "activations.json")
        self.racing = Racing(CONFIG["racing"]["confidence"], seed) if mode == "racing" else None
        self.seed = seed

    def fp32(self) -> None:
        """Plain recognition, then, except that naive does it in another pass, what is measured against it."""
        budget = 0 if self.mode == "naive" else CONFIG["cache"]["disk_mb"]
        if self.mode == "naive":
            recognise_reference(self.stages, [], self.split, self.files, 0)
        _, self.histograms = recognise_reference(self.stages, self.modules, self.split, self.files, budget)
        reference = load_reference(self.files.summary, self.files.posteriors)
        activations = Activations(self.files.activations, self.split.belongs, self.stages.names) if budget else None
        self.calibration = Calibration(self.split, reference, activations, self.seed)

    def probe(self, layer: str) -> bool:
        """Whether ``layer`` is selected."""
        ranges = {name: h.amax for name, h in self.histograms.items()}
        (outcome,) = probe_layers(
            self.stages, self.modules, [layer], ranges, self.calibration, CONFIG["threshold"], self.racing
        )
        return outcome.degradation > CONFIG["threshold"]

    def search(self, layer: str) -> float:
        """The best percentile of ``layer``."""
        modules = [m for m in self.modules if m.layer == layer]
        grids = [[p] for p in CONFIG["percentiles"]] if self.mode == "naive" else [CONFIG["percentiles"]]
        found = [
            candidate
            for grid in grids
            for candidate in search_percentile(
                self.stages, modules, self.histograms, grid, self.calibration, self.racing
            )
        ]
        running = [c for c in found if not c.stopped]
        return min(running, key=lambda c: (c.outcome.wer, c.outcome.divergence, -c.percentile)).percentile

    def usage(self) -> dict[str, float]:
        """What all steps so far took."""
        folder = self.files.activations.with_suffix("")
        return {
            "passes": passes(self.stages.samples, self.costs, self.split.samples),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "disk_bytes": sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0,
        }


def serve(pipe: Connection, *settings: object) -> None:
    """Answer calls of `Mode`'s methods with what they return and the seconds that they took."""
    mode = Mode(*settings)
    pipe.send(None)
    while call := pipe.recv():
        start = time.perf_counter()
        returned = getattr(mode, call[0])(*call[1:])
        pipe.send((returned, time.perf_counter() - start))


class Worker:
    """A `Mode` in its process."""

    def __init__(self, mode: str, *settings: object) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, mode, *settings), daemon=True)
        self._process.start()
        self._pipe.recv()
        self.seconds = 0.0
        self.selected: list[str] = []
        self.percentiles: dict[str, float] = {}

    def __call__(self, *call: object) -> object:
        self._pipe.send(call)
        returned, seconds = self._pipe.recv()
        self.seconds += seconds
        return returned

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join()


def plain_recognition(mode: str, checkpoint: Path, utterances: Path, folder: Path, threads: int, seed: int) -> dict:
    """Peak memory and seconds of one fp32 recognition."""
    worker = Worker(mode, checkpoint, utterances, folder, threads, seed)
    worker("plain")
    usage = worker("usage")
    worker.stop()
    return {"fp32_seconds": worker.seconds, "fp32_peak_rss_bytes": usage["peak_rss_bytes"]}


def measure(name: str, checkpoint: Path, utterances: Path, layers: list[str], threads: int, seed: int) -> pd.DataFrame:
    """One row per mode."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {mode: Path(temporary) / mode for mode in MODES}
        for folder in folders.values():
            folder.mkdir()
        workers = {m: Worker(m, checkpoint, utterances, folders[m], threads, seed) for m in MODES}
        for worker in workers.values():
            worker("fp32")
        for layer in tqdm(layers, desc=f"{name}: probes"):
            for worker in workers.values():
                if worker("probe", layer):
                    worker.selected.append(layer)
        for layer in tqdm(dict.fromkeys(s for w in workers.values() for s in w.selected), desc=f"{name}: searches"):
            for worker in workers.values():
                if layer in worker.selected:
                    worker.percentiles[layer] = worker("search", layer)
        rows = [
            {
                "model": name,
                "mode": mode,
                "wall_seconds": worker.seconds,
                **worker("usage"),
                "selected": " ".join(worker.selected),
                "percentiles": " ".join(f"{layer}:{p}" for layer, p in worker.percentiles.items()),
            }
            for mode, worker in workers.items()
        ]
        for worker in workers.values():
            worker.stop()
    return pd.DataFrame(rows)
