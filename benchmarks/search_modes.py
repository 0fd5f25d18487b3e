"""The ways to search that `search.py` compares, each in a process of its own."""

import time
from dataclasses import asdict, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from project import CONFIG
from processes import start_process
from simulated import files_in

from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.modules import QuantizedModule
from stablequant.scoring.word_errors import WordErrors
from stablequant.search.costs import layer_costs, passes
from stablequant.search.hidden_values import HiddenValues, cache_key
from stablequant.search.plan_probes import layers_to_probe
from stablequant.search.probe_layer import probe_layers
from stablequant.search.racing import Racing
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.screen_layers import screen_layers
from stablequant.search.screen_percentiles import screen_percentiles, search_screened
from stablequant.search.screened import Screened
from stablequant.search.search_percentile import Candidate, mark_best, search_percentile
from stablequant.search.select_layers import select_layers
from stablequant.search.split import loaded, padded_samples, read_split
from stablequant.search.trials import Calibration
from stablequant.workflow.memory import peak_rss_bytes

MODES = ("naive", "prefix", "racing", "screened")


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
        hidden_values = HiddenValues(self.files.hidden_values, self.key, self.recogniser.layers) if budget else None
        self.calibration = Calibration(self.split, reference, hidden_values, self.seed)

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
        folder = self.files.hidden_values.with_suffix("")
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
        self._process, self._pipe = start_process(serve, mode, *settings)
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
