"""What several callers gain who share one loaded bundle: recordings per second with 1, 2, 4 and 8 threads.

    .venv/bin/python benchmarks/callers.py results/demo/bundle tsv/demo-evaluation.tsv --out benchmarks/callers.tsv

Every round times all numbers of callers in a random order, so that a machine that gets slower harms all alike.
The row ``batch`` is one caller who hands over all recordings as one list. Each time is compared with that of one caller
in the same round. All recordings are already in memory.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tables import command_line

from stablequant.bundle.transcribe import Transcriber, load_bundle
from stablequant.corpora.audio import read_audio
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.engines.turns import take_turns
from stablequant.report.show import markdown_table

CALLERS = (1, 2, 4, 8)


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


def main() -> None:
    parser = command_line(__doc__, markdown)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--recordings", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--backends", nargs="+", default=["openvino"])
    options = parser.parse_args()
    if not (options.bundle and options.manifest and options.out):
        parser.error("name a bundle, a manifest and --out")
    rows = []
    for backend in options.backends:
        recogniser = load_bundle(options.bundle, options.threads, backend=backend)
        writing = recogniser.bundle.family.writing(options.bundle)
        utterances, _ = list_utterances(read_manifest(options.manifest, None, writing.labels), writing)
        chosen = utterances[:: max(1, len(utterances) // options.recordings)][: options.recordings]
        recordings = [read_audio(Path(u.path), writing.sample_rate).samples for u in chosen]
        audio = sum(map(len, recordings)) / writing.sample_rate
        seconds = measure(ways(recogniser, recordings, writing.sample_rate), options.rounds)
        for name, times in seconds.items():
            ratios = np.array(seconds["1"]) / np.array(times)
            rows.append(
                {
                    "backend": backend,
                    "callers": name,
                    "recordings": len(recordings),
                    "rtfx": round(audio / float(np.median(times)), 1),
                    "speedup": round(float(np.median(ratios)), 2),
                    "speedup_low": round(float(ratios.min()), 2),
                    "speedup_high": round(float(ratios.max()), 2),
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(options.out, sep="\t", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
