"""What the search costs: ``python benchmarks/search.py --out FILE``.

Four modes: *naive* recognises all audio anew for every layer and every cut-off percentile, *prefix* (``search:
exhaustive``) resumes from stored activations and computes what lies before a layer once for all its percentiles,
*racing* stops early too, and *screened* (``search: screened``) recognises only what the divergence on a minute leaves
in doubt. Each is a process of its own; they take turns layer by layer, so that a drifting machine slows all alike.
*Passes* are multiply-accumulates in units of one pass over the audio. The demo is the project's, **synthesised** speech
and the recogniser trained on it; its variants and ``large`` are those of ``variants.py``; ``hubert-large-shape`` has
random weights and hears tones, see ``random_large.py``. Another recogniser is named by ``--other``. The cut-off of
100 %, which the workflow has from the probe, is no candidate here. Run it in the project's folder.

``layers_otherwise`` and ``cutoffs_otherwise`` count where a mode chose otherwise than naive. Of those layers,
``layers_surely_otherwise`` are the ones whose degradation naive measured with an interval that does not hold the
threshold, and ``cutoffs_worse`` the ones whose cut-off loses more words than naive's, with a paired interval above 0.
"""

import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from random_large import write_random_large
from simulated import files_in
from tables import OTHERS_KEPT, command_line, with_others
from tqdm import tqdm
from variants import RECOGNISERS, checkpoint_of

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import list_folder, read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.registry import family_of
from stablequant.report.show import markdown_table
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.activations import Activations, cache_key
from stablequant.search.costs import layer_costs, passes
from stablequant.search.measured import Screened
from stablequant.search.plan_probes import layers_to_probe
from stablequant.search.probe_layer import probe_layers
from stablequant.search.racing import Racing
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.screen_layers import screen_layers
from stablequant.search.screen_percentiles import screen_percentiles, search_screened
from stablequant.search.search_percentile import Candidate, mark_best, search_percentile
from stablequant.search.select_layers import select_layers
from stablequant.search.split import loaded, padded_samples, read_split
from stablequant.search.trials import Calibration
from stablequant.storage.files import write_table
from stablequant.workflow.memory import peak_rss_bytes

MODES = ("naive", "prefix", "racing", "screened")
MODELS = (*RECOGNISERS, "hubert-large-shape")
COLUMNS = [
    *("model", "mode", "passes", "wall_seconds", "peak_rss_bytes", "disk_bytes", "selected", "percentiles"),
    *("audio_seconds", "fp32_seconds", "fp32_peak_rss_bytes", "device"),
    *("layers_otherwise", "layers_surely_otherwise", "cutoffs_otherwise", "cutoffs_worse"),
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
        self.screened: list[Screened] = []
        self.probes: list[dict] = []

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

    def plan(self) -> list[str]:
        """Layers to probe next; none if all were that are needed."""
        if self.mode != "screened":
            return [] if self.probes else self.layers()
        if not self.screened:
            seconds = CONFIG["screening"]["audio_seconds"]
            modules, ranges = self.recogniser.modules, self.ranges()
            self.screened = screen_layers(self.recogniser, modules, ranges, self.calibration, seconds)
        wanted = layers_to_probe(self.screened, self.probes, CONFIG["threshold"], CONFIG["screening"]["in_a_row"])
        return [layer for layer in wanted if layer not in {row["layer"] for row in self.probes}]

    def ranges(self) -> dict[str, Range]:
        """Those that clip nothing, by activation."""
        return {name: full_range(h) for name, h in self.histograms.items()}

    def probe(self, layer: str) -> tuple[bool, bool]:
        """Whether ``layer`` is selected, and whether that is sure."""
        (outcome,) = probe_layers(
            self.recogniser,
            self.recogniser.modules,
            [layer],
            self.ranges(),
            self.calibration,
            CONFIG["threshold"],
            self.racing,
        )
        self.probes.append({"layer": layer, "kind": "", **asdict(outcome)})
        (row,) = select_layers(self.probes[-1:], CONFIG["threshold"]).itertuples()
        return bool(row.selected), bool(row.sure)

    def search(self, layer: str) -> dict[float, WordErrors | None]:
        """The word errors of each cut-off of ``layer`` that heard all audio, the best one first."""
        modules = [m for m in self.recogniser.modules if m.layer == layer]
        found = [c for grid in self.grids() for c in self.tried(modules, grid)]
        reference = self.calibration.reference.errors
        ordered = sorted(mark_best(found), key=lambda candidate: not candidate.best)
        return {
            c.percentile: None if None in c.outcome.errors else replace(reference, errors=np.array(c.outcome.errors))
            for c in ordered
        }

    def grids(self) -> list[list[float]]:
        """The cut-offs that are tried together."""
        return [[p] for p in CONFIG["percentiles"]] if self.mode == "naive" else [CONFIG["percentiles"]]

    def tried(self, modules: list[QuantizedModule], grid: list[float]) -> list[Candidate]:
        """The cut-offs of ``grid`` that are recognised."""
        recogniser, histograms, calibration = self.recogniser, self.histograms, self.calibration
        if self.mode != "screened":
            return search_percentile(recogniser, modules, histograms, grid, calibration, self.racing)
        seconds, threshold = CONFIG["screening"]["audio_seconds"], CONFIG["threshold"]
        screen = screen_percentiles(recogniser, modules, histograms, grid, calibration, seconds)
        recognise = partial(search_percentile, recogniser, modules, histograms, calibration=calibration)
        return search_screened(screen, recognise, threshold)

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
        self.probed: dict[str, tuple[bool, bool]] = {}  # layer -> selected, sure
        self.searched: dict[str, dict[float, WordErrors | None]] = {}  # by layer, see `Mode.search`

    def __call__(self, *call: object) -> object:
        self._pipe.send(call)
        returned, seconds = self._pipe.recv()
        self.seconds += seconds
        return returned

    @property
    def selected(self) -> list[str]:
        return [layer for layer, (selected, _) in self.probed.items() if selected]

    @property
    def percentiles(self) -> dict[str, float]:
        return {layer: next(iter(tried)) for layer, tried in self.searched.items()}

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
        plans = {mode: worker("plan") for mode, worker in workers.items()}
        while any(plans.values()):
            for layer in tqdm(layers, desc=f"{name}: probes"):
                for mode, worker in workers.items():
                    if layer in plans[mode]:
                        worker.probed[layer] = worker("probe", layer)
            plans = {mode: worker("plan") for mode, worker in workers.items()}
        for layer in tqdm(layers, desc=f"{name}: searches"):
            for worker in workers.values():
                if layer in worker.selected:
                    worker.searched[layer] = worker("search", layer)
        rows = [
            {
                "model": name,
                "mode": mode,
                "wall_seconds": worker.seconds,
                **worker("usage"),
                "selected": " ".join(layer for layer in layers if layer in worker.selected),
                "percentiles": " ".join(f"{layer}:{p}" for layer, p in worker.percentiles.items()),
                "audio_seconds": worker("audio_seconds"),
                "device": device,
                **fp32,
                **otherwise(worker, workers["naive"], seed),
            }
            for mode, worker in workers.items()
        ]
        for worker in workers.values():
            worker.stop()
    return pd.DataFrame(rows, columns=COLUMNS)


def otherwise(worker: Worker, naive: Worker, seed: int) -> dict[str, int]:
    """Where a mode chose otherwise than naive did, and where that is more than chance."""
    layers = {*worker.selected} ^ {*naive.selected}
    common = [layer for layer in worker.selected if layer in naive.selected]
    cutoffs = [layer for layer in common if worker.percentiles[layer] != naive.percentiles[layer]]
    worse = 0
    for layer in cutoffs:
        tried = naive.searched[layer]
        low, _ = degradation_interval(tried[worker.percentiles[layer]], tried[naive.percentiles[layer]], seed)
        worse += low > 0
    return {
        "layers_otherwise": len(layers),
        "layers_surely_otherwise": sum(naive.probed[layer][1] for layer in layers),
        "cutoffs_otherwise": len(cutoffs),
        "cutoffs_worse": worse,
    }


def counts(*found: float) -> str:
    """Counts of which some may not have been measured."""
    return ", ".join("?" if np.isnan(count) else f"{count:.0f}" for count in found)


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
                counts(row.layers_otherwise, row.layers_surely_otherwise),
                counts(row.cutoffs_otherwise, row.cutoffs_worse),
            ]
            for row in own.itertuples()
        ]
    header = ["model", "mode", "passes", "of naive's", "wall time, s", "of naive's"]
    header += ["peak memory, of plain fp32's", "disk, MB", "layers otherwise, surely", "cut-offs otherwise, worse"]
    return markdown_table(header, rows)


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
    return list_in(folder, str(checkpoint_of(name)), Path(CONFIG["models"]["demo"]["calibration"]))


def list_in(folder: Path, checkpoint: str, calibration: Path) -> tuple[Path, Path]:
    """A checkpoint imported into ``folder``, and the table of a manifest's or a folder's utterances."""
    import_checkpoint(checkpoint, folder / "checkpoint")
    writing = family_of(folder / "checkpoint").writing(folder / "checkpoint")
    manifest = list_folder(calibration) if calibration.is_dir() else read_manifest(calibration)
    listed, _ = list_utterances(manifest, writing)
    write_table(folder / "utterances.tsv", table_of(listed, Utterance))
    return folder / "checkpoint", folder / "utterances.tsv"


def main() -> None:
    parser = command_line(__doc__, markdown, summarise, out=OTHERS_KEPT)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="what to search (all)")
    parser.add_argument(
        "--other", nargs=3, metavar=("NAME", "CHECKPOINT", "CALIBRATION"), help="search this in place of --models"
    )
    parser.add_argument("--audio-seconds", type=float, default=180, help="audio for hubert-large-shape (180)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="that searches (cpu)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the audio's order and racing's draws (0)")
    arguments = parser.parse_args()
    for name in [arguments.other[0]] if arguments.other else arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            if arguments.other:
                checkpoint, utterances = list_in(Path(temporary), arguments.other[1], Path(arguments.other[2]))
            else:
                checkpoint, utterances = prepare(name, Path(temporary), arguments.audio_seconds)
            measured = measure(name, checkpoint, utterances, arguments.device, arguments.threads, arguments.seed)
        print(summarise(measured), flush=True)
        if arguments.out:
            write_table(arguments.out, with_others(measured, arguments.out))


if __name__ == "__main__":
    main()
