"""The part `probe` of `gpu.py`: what a probe of a layer costs."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from project import CONFIG, PROJECT
from gpu import FOLDER
from gpu_graphs import SHAPE, made
from gpu_setting import BATCH_MB, DEVICE, GPU, THREADS, fresh, row
from simulated import measure_fp32
from utterance_tables import DEMO, write_utterances

from stablequant.quantization.collecting import Preparation
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.probe_layer import probe_layers
from stablequant.search.split import loaded, read_split

SLOWEST = 1.15  # times an fp32 pass
PROBED = 5  # layers, evenly spread
TURNS = 3  # passes of each kind
UTTERANCES = {"demo": 100, "large": 32} if GPU else {"demo": 6, "large": 6}  # of the demo


def probe() -> Iterator[dict]:
    """A pass with one layer quantized against one in fp32, each over all audio: of the demo, and of the `graphs`."""
    folder = fresh(FOLDER / "probe")
    import_checkpoint(str(PROJECT / "resources/demo/model"), folder / "checkpoint")
    yield from probes_of("demo", folder / "checkpoint", UTTERANCES["demo"])
    large = made(FOLDER / "graphs/checkpoint")
    yield from probes_of(SHAPE, large, UTTERANCES["large"])


def probes_of(case: str, checkpoint: Path, utterances: int) -> Iterator[dict]:
    """The same of one checkpoint, with so many ``utterances`` of the demo."""
    folder = fresh(FOLDER / "probe/files")
    write_utterances(DEMO["calibration"], checkpoint, folder / "utterances.tsv", utterances)
    recogniser = load_recogniser(checkpoint, DEVICE, THREADS)
    split = read_split(recogniser, folder / "utterances.tsv", BATCH_MB, CONFIG["seed"])
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    calibration, histograms = measure_fp32(recogniser, split, folder, Preparation())
    ranges = {activation: full_range(histogram) for activation, histogram in histograms.items()}

    def recognise() -> None:
        for _, context, state in loaded(recogniser, split.batches, "fp32"):
            recogniser.recognise(state, 0, context)

    audio_seconds = sum(u.samples for u in split.utterances) / split.sample_rate
    yield row(case, "fp32 pass", audio_seconds / median_seconds(TURNS, recognise)[0], "s of audio per s")
    probed = partial(probe_layers, recogniser, recogniser.modules, ranges=ranges, calibration=calibration, threshold=0)
    for place in np.linspace(0, len(recogniser.layers) - 1, PROBED).astype(int):
        layer = recogniser.layers[place]
        plain, quantized = median_seconds(TURNS, recognise, partial(probed, layers=[layer]))
        yield row(case, f"probe of {layer} against the fp32 pass", quantized / plain, "times", SLOWEST)
    if GPU:
        yield row(case, "peak memory of the GPU", torch.cuda.max_memory_allocated() / 1e9, "GB")


def median_seconds(turns: int, *ways: Callable[[], object]) -> list[float]:
    """Of each of ``ways``, which take turns, after a first turn that does not count."""
    taken = np.zeros((turns + 1, len(ways)))
    for turn in taken:
        for number, way in enumerate(ways):
            start = time.perf_counter()
            way()
            turn[number] = time.perf_counter() - start
    return np.median(taken[1:], axis=0).tolist()
