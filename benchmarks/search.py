"""What the search costs: ``python benchmarks/search.py --out FILE``.

Three modes: *naive* recognises all audio anew for every layer and every cut-off percentile, *prefix* resumes from
stored activations and computes what lies before a layer once for all its percentiles, *racing* stops early too. Each is
a process of its own; they take turns layer by layer, so that a drifting machine slows all alike. *Passes* are
multiply-accumulates in units of one pass over the audio. The demo is the project's, **synthesised** speech and the
recogniser trained on it; ``hubert-large-shape`` has random weights and hears tones, see ``random_large.py``.
The cut-off of 100 %, which the workflow has from the probe, is no candidate here. Run it in the project's folder.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "benchmarks")]

from random_large import write_random_large
from simulated import files_in

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import family_of
from stablequant.report.show import markdown_table
from stablequant.search.activations import Activations, cache_key
from stablequant.search.costs import layer_costs, passes
from stablequant.search.probe_layer import probe_layers
from stablequant.search.racing import Racing
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.search_percentile import mark_best, search_percentile
from stablequant.search.select_layers import select_layers
from stablequant.search.split import loaded, padded_samples, read_split
from stablequant.search.trials import Calibration
from stablequant.storage.files import read_table, write_table
from stablequant.workflow.memory import peak_rss_bytes

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
MODES = ("naive", "prefix", "racing")
MODELS = ("demo", "hubert-large-shape")
COLUMNS = [
    *("model", "mode", "passes", "wall_seconds", "peak_rss_bytes", "disk_bytes", "selected", "percentiles"),
    *("audio_seconds", "fp32_seconds", "fp32_peak_rss_bytes", "device"),
]
DEV_CLEAN_HOURS = 5.4


class Mode:
    """One way to search, in a process of its own: each method is one step, which the benchmark times."""

    def __init__(
        self, mode: str, checkpoint: Path, utterances: Path, folder: Path, device: str, threads: int, seed: int
    ) -> None:
        self.mode = mode
        self.recogniser = load_recogniser(checkpoint, device, threads)
        self.costs = layer_costs(self.recogniser)
        self.split = read_split(self.recogniser, utterances, CONFIG["batch_mb"], seed, raced=mode == "racing")
        self.key = cache_key(checkpoint, self.split)
        self.files = files_in(folder)
        self.racing = Racing(CONFIG["racing"]["confidence"], seed) if mode == "racing" else None
        self.seed = seed

    def layers(self) -> list[str]:
        """In the order in which audio passes them."""
        return list(self.recogniser.layers)

    def recognise(self) -> None:
        """Plain recognition in fp32."""
        for _, context, state in loaded(self.recogniser, self.split.batches, "fp32"):
            self.recogniser.recognise(state, 0, context)

    def reference(self) -> None:
        """What is measured against: naive recognises once for the words and once for the histograms."""
        budget = 0 if self.mode == "naive" else CONFIG["cache"]["disk_mb"]
        if self.mode == "naive":
            self.recognise()
        found = recognise_reference(self.recogniser, self.split, self.files, Cache(self.key, budget))
        self.histograms = found.histograms
        reference = load_reference(self.files.summary, self.files.posteriors)
        activations = Activations(self.files.activations, self.key, self.recogniser.layers) if budget else None
        self.calibration = Calibration(self.split, reference, activations, self.seed)

    def probe(self, layer: str) -> bool:
        """Whether ``layer`` is selected."""
        ranges = {name: full_range(h) for name, h in self.histograms.items()}
        (outcome,) = probe_layers(
            self.recogniser,
            self.recogniser.modules,
            [layer],
            ranges,
            self.calibration,
            CONFIG["threshold"],
            self.racing,
        )
        rows = [{"layer": layer, "kind": "", **asdict(outcome)}]
        return bool(select_layers(rows, CONFIG["threshold"])["selected"].item())

    def search(self, layer: str) -> float:
        """The best percentile of ``layer``."""
        modules = [m for m in self.recogniser.modules if m.layer == layer]
        grids = [[p] for p in CONFIG["percentiles"]] if self.mode == "naive" else [CONFIG["percentiles"]]
        found = [
            candidate
            for grid in grids
            for candidate in search_percentile(
                self.recogniser, modules, self.histograms, grid, self.calibration, self.racing
            )
        ]
        return next(c.percentile for c in mark_best(found) if c.best)

    def audio_seconds(self) -> float:
        """Of all utterances."""
        return sum(u.samples for u in self.split.utterances) / self.split.sample_rate

    def usage(self) -> dict[str, float]:
        """What all steps so far took."""
        folder = self.files.activations.with_suffix("")
        return {
            "passes": passes(self.recogniser.samples, self.costs, padded_samples(self.recogniser, self.split.batches)),
            "peak_rss_bytes": peak_rss_bytes(),
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


def measure(name: str, checkpoint: Path, utterances: Path, device: str, threads: int, seed: int) -> pd.DataFrame:
    """One row per mode; ``fp32_...`` are of one plain recognition."""
    with tempfile.TemporaryDirectory() as temporary:
        workers = {}
        for mode in ("fp32", *MODES):
            folder = Path(temporary) / mode
            folder.mkdir()
            workers[mode] = Worker(mode, checkpoint, utterances, folder, device, threads, seed)
        plain = workers.pop("fp32")
        layers = plain("layers")
        plain("recognise")
        fp32 = {"fp32_seconds": plain.seconds, "fp32_peak_rss_bytes": plain("usage")["peak_rss_bytes"]}
        plain.stop()
        for worker in workers.values():
            worker("reference")
        for layer in tqdm(layers, desc=f"{name}: probes"):
            for worker in workers.values():
                if worker("probe", layer):
                    worker.selected.append(layer)
        searched = [layer for layer in layers if any(layer in worker.selected for worker in workers.values())]
        for layer in tqdm(searched, desc=f"{name}: searches"):
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
                "audio_seconds": worker("audio_seconds"),
                "device": device,
                **fp32,
            }
            for mode, worker in workers.items()
        ]
        for worker in workers.values():
            worker.stop()
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it; shares are of naive's."""
    rows = []
    for name, own in table.groupby("model", sort=False):
        naive = own[own["mode"] == "naive"].iloc[0]
        rows += [
            [
                *(name, row.mode, f"{row.passes:.1f}", f"{row.passes / naive.passes:.3f}"),
                *(f"{row.wall_seconds:.0f}", f"{row.wall_seconds / naive.wall_seconds:.3f}"),
                *(f"{row.peak_rss_bytes / row.fp32_peak_rss_bytes:.2f}", f"{row.disk_bytes / 1e6:.0f}"),
            ]
            for row in own.itertuples()
        ]
    header = ["model", "mode", "passes", "of naive's", "wall time, s", "of naive's"]
    return markdown_table([*header, "peak memory, of plain fp32's", "disk, MB"], rows)


def summarise(table: pd.DataFrame) -> str:
    """Ratios to naive, and what the search of LibriSpeech's dev-clean would take on this machine."""
    lines = []
    for name, rows in table.groupby("model", sort=False):
        naive = rows[rows["mode"] == "naive"].iloc[0]
        for row in rows.itertuples():
            same = "the same" if (row.selected, row.percentiles) == (naive.selected, naive.percentiles) else "other"
            dev_clean = DEV_CLEAN_HOURS * 3600 / row.audio_seconds
            stored = f", {row.disk_bytes * dev_clean / 1e9:.0f} GB of as many layers' values" if row.disk_bytes else ""
            lines.append(
                f"{name} {row.mode}: {row.passes:.1f} passes ({row.passes / naive.passes:.3f} of naive), "
                f"{row.wall_seconds:.0f} s ({row.wall_seconds / naive.wall_seconds:.3f}), peak memory "
                f"{row.peak_rss_bytes / row.fp32_peak_rss_bytes:.2f} of plain fp32's, {row.disk_bytes / 1e6:.0f} MB of "
                f"disk, {same} layers and percentiles; a pass takes "
                f"{row.wall_seconds / row.passes / row.fp32_seconds:.2f} of plain fp32's; dev-clean "
                f"({DEV_CLEAN_HOURS} h): about {row.wall_seconds * dev_clean / 3600:.1f} h{stored}"
            )
    return "\n".join(lines)


def prepare(name: str, folder: Path, audio_seconds: float) -> tuple[Path, Path]:
    """A model's checkpoint and table of utterances."""
    if name == "hubert-large-shape":
        return write_random_large(folder, audio_seconds)
    settings = CONFIG["models"]["demo"]
    import_checkpoint(settings["checkpoint"], folder / "checkpoint")
    writing = family_of(folder / "checkpoint").writing(folder / "checkpoint")
    listed, _ = list_utterances(read_manifest(Path(settings["calibration"])), writing)
    write_table(folder / "utterances.tsv", table_of(listed, Utterance))
    return folder / "checkpoint", folder / "utterances.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="TSV to write; rows of other models in it are kept")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="what to search (both)")
    parser.add_argument("--audio-seconds", type=float, default=180, help="audio for hubert-large-shape (180)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="that searches (cpu)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the audio's order and racing's draws (0)")
    parser.add_argument("--markdown", type=Path, help="measure nothing, print this TSV as the documents show it")
    arguments = parser.parse_args()
    if arguments.markdown:
        measured = read_table(arguments.markdown)
        print(markdown(measured), summarise(measured), sep="\n\n")
        return
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            checkpoint, utterances = prepare(name, Path(temporary), arguments.audio_seconds)
            measured = measure(name, checkpoint, utterances, arguments.device, arguments.threads, arguments.seed)
        print(summarise(measured), flush=True)
        if arguments.out:
            before = read_table(arguments.out) if arguments.out.exists() else measured.iloc[:0]
            write_table(arguments.out, pd.concat([before[before["model"] != name], measured]))


if __name__ == "__main__":
    main()
