"""How fast the search recognises: ``python benchmarks/search_pass.py --out FILE``.

A network of HuBERT large's shape with random weights hears noise. What takes turns: torch as it comes, the search in
float32 (`stablequant.recognisers.products`), the search with ``precision: paired``, and OpenVINO in float32. Each
``ratio`` is OpenVINO's time over the row's, by the fastest round: 1 is as fast as OpenVINO.
"""

import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from easy_engines import compile_as_it_is
from large_graphs import write_hubert_large
from noise import noise
from tables import command_line, write_out
from tqdm import trange

from stablequant.recognisers.ctc.recogniser import HIDDEN
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.load_recogniser import PLUGIN, load_recogniser
from stablequant.recognisers.products import LEAST_GAIN, onednn_gain, reduce_weights
from stablequant.recognisers.registry import family_of
from stablequant.report.show import markdown_table
from stablequant.search.recognise_reference import REDUCED

OPENVINO = "OpenVINO, float32"


def ways(checkpoint: Path, graph: Path, threads: int, audio: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """What takes turns: each gives the logits of ``audio`` ``(1, samples)``."""
    plain = import_module(PLUGIN.format(family=family_of(checkpoint).name)).load(checkpoint, "cpu", threads)
    search = load_recogniser(checkpoint, "cpu", threads)
    paired = load_recogniser(checkpoint, "cpu", threads).reduced(REDUCED)
    reduce_weights(paired.model, REDUCED, [])
    compiled = compile_as_it_is(graph, "f32", threads)
    onednn = onednn_gain(threads) >= LEAST_GAIN
    state, context = {HIDDEN: torch.from_numpy(audio)}, plain.context([audio.shape[1]])
    return {
        "torch, float32": lambda: plain.logits(state, 0, context).numpy(),
        f"search, float32, Linears by {'oneDNN' if onednn else 'BLAS'}": lambda: search.logits(
            state, 0, context
        ).numpy(),
        f"search, {REDUCED} (paired)": lambda: paired.logits(state, 0, context).numpy(),
        OPENVINO: lambda: compiled(audio)[0],
    }


def measure(folder: Path, threads: int, audio_seconds: float, rounds: int) -> pd.DataFrame:
    """One row for each way."""
    write_hubert_large(folder / "checkpoint")
    export_onnx(folder / "checkpoint", folder / "fp32.onnx", threads)
    audio = noise(1, audio_seconds)
    run = ways(folder / "checkpoint", folder / "fp32.onnx", threads, audio)
    logits = {name: way() for name, way in run.items()}
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for _ in trange(rounds, desc="rounds"):
        for name, way in run.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    best = min(seconds[OPENVINO])
    rows = [
        {
            "way": name,
            "threads": threads,
            "audio_seconds": audio_seconds,
            "best_seconds": min(spent),
            "median_seconds": float(np.median(spent)),
            "ratio": best / min(spent),
            "largest_difference": float(np.abs(logits[name] - logits[OPENVINO]).max()),
        }
        for name, spent in seconds.items()
    ]
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it."""
    header = ["what computes", "seconds, fastest", "median", "of OpenVINO's speed", "logits differ by at most"]
    rows = [
        [
            *(row.way, f"{row.best_seconds:.2f}", f"{row.median_seconds:.2f}"),
            *(f"{row.ratio:.2f}", f"{row.largest_difference:.1g}"),
        ]
        for row in table.itertuples()
    ]
    return markdown_table(header, rows)


def main() -> None:
    parser = command_line(__doc__, markdown, threads=True)
    parser.add_argument("--audio-seconds", type=float, default=10, help="length of the noise (10)")
    parser.add_argument("--rounds", type=int, default=5, help="in each, every way runs once (5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Path(folder), arguments.threads, arguments.audio_seconds, arguments.rounds)
    print(markdown(table))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
