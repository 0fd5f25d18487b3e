"""What several callers gain who share one loaded bundle: recordings per second with 1, 2, 4 and 8 threads.

    .venv/bin/python benchmarks/callers.py results/demo/bundle tsv/demo-evaluation.tsv --out benchmarks/callers.tsv

Every round times all numbers of callers in a random order, so that a machine that gets slower harms all alike.
The row ``batch`` is one caller who hands over all recordings as one list. ``rtfx`` is the speed of the median round,
with the slowest and the fastest one, and ``speedup`` its ratio to that of one caller. All recordings are already in
memory. ONNX Runtime runs the bundle's graph, also if the bundle holds no engine for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tables import command_line, write_out

from stablequant.bundle.read_bundle import read_bundle
from stablequant.bundle.transcribe import Transcriber, default_chunk, load_bundle
from stablequant.corpora.audio import read_audio
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.engines.onnxruntime import load_network
from stablequant.engines.turns import take_turns
from stablequant.report.show import markdown_table

CALLERS = (1, 2, 4, 8)


def load(folder: Path, backend: str, threads: int) -> Transcriber:
    """The engine of the bundle in ``folder``; for ``onnxruntime`` the bundle's own graph serves as well."""
    if backend != "onnxruntime" or (folder / "engines" / backend).is_dir():
        return load_bundle(folder, threads, backend=backend)
    bundle = read_bundle(folder)
    ((name, signature),) = bundle.family.signatures(folder).items()
    places = {file: place for place, file in bundle.family.published(folder).items()}
    network, arithmetic = load_network(folder / places[f"{name}.onnx"], signature, threads)
    decoder = bundle.family.decoder(folder, {name: network})
    return Transcriber(bundle, decoder, arithmetic, 400, default_chunk(bundle, math.inf), math.inf)


def ways(recogniser: Transcriber, recordings: list[np.ndarray], rate: int) -> dict[str, Callable[[], list[str]]]:
    """Each way to get the texts of all recordings, by its name in the table."""

    def shared(callers: int) -> Callable[[], list[str]]:
        def run() -> list[str]:
            with ThreadPoolExecutor(callers) as pool:
                return [found.text for found in pool.map(lambda one: recogniser.transcribe(one, rate), recordings)]

        return run

    def batch() -> list[str]:
        return [found.text for found in recogniser.transcribe(list(recordings), rate)]

    return {str(callers): shared(callers) for callers in CALLERS} | {"batch": batch}


def measure(listed: dict[str, Callable[[], list[str]]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; every way must find the same words."""
    expected = listed["1"]()
    draw = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in listed}
    for _ in range(rounds):
        for name, turn in take_turns(listed, draw).items():
            seconds[name].append(turn.seconds)
            different = sum(one != other for one, other in zip(turn.result, expected, strict=True))
            if different > len(expected) // 50:  # other batches round differently
                raise RuntimeError(f"{name}: {different} of {len(expected)} recordings were recognised otherwise")
    return seconds


def markdown(table: pd.DataFrame) -> str:
    return markdown_table(list(table.columns), table.astype(str).to_numpy().tolist())


def rows(
    backend: str, audio: float, recordings: int, seconds: Mapping[str, Sequence[float]]
) -> list[dict[str, object]]:
    """The table's rows for one backend: ``seconds`` by way and round to recognise ``audio`` seconds of recordings."""
    alone = round(audio / float(np.median(seconds["1"])), 1)
    listed: list[dict[str, object]] = []
    for name, times in seconds.items():
        speed = round(audio / float(np.median(times)), 1)
        listed.append(
            {
                "backend": backend,
                "callers": name,
                "recordings": recordings,
                "rtfx": speed,
                "rtfx_low": round(audio / max(times), 1),
                "rtfx_high": round(audio / min(times), 1),
                "speedup": round(speed / alone, 2),
            }
        )
    return listed


def main() -> None:
    parser = command_line(__doc__, markdown)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--recordings", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--backends", nargs="+", default=["openvino", "onnxruntime"])
    options = parser.parse_args()
    if not (options.bundle and options.manifest and options.out):
        parser.error("name a bundle, a manifest and --out")
    measured = []
    for backend in options.backends:
        recogniser = load(options.bundle, backend, options.threads)
        front_end = recogniser.bundle.family.front_end(options.bundle)
        utterances, _ = list_utterances(read_manifest(options.manifest, None, front_end.labels), front_end)
        chosen = utterances[:: max(1, len(utterances) // options.recordings)][: options.recordings]
        recordings = [read_audio(Path(u.path), front_end.sample_rate).samples for u in chosen]
        audio = sum(map(len, recordings)) / front_end.sample_rate
        seconds = measure(ways(recogniser, recordings, front_end.sample_rate), options.rounds)
        measured += rows(backend, audio, len(recordings), seconds)
    table = pd.DataFrame(measured)
    write_out(options.out, table)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
