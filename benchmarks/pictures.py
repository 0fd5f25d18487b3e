"""The pictures of the documents that are drawn from the tables of the benchmarks: ``python benchmarks/pictures.py``.

A picture whose table was not measured yet is left out.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from project import PROJECT

from stablequant.report import figures
from stablequant.report.plot_peers import plot_peers
from stablequant.report.plot_tradeoff import plot_tradeoff
from stablequant.report.scatter import draw_marks, label_marks
from stablequant.storage.files import read_table

NAMES = {"openvino": "OpenVINO", "openvino-genai": "GenAI", "onnxruntime": "ONNX Runtime"}  # "GenAI": OpenVINO GenAI
FP32 = ("fp32", "f32", "float32")  # names of 32-bit floating point
OWN = {"backend": ("openvino", "onnxruntime"), "precision": ("int8", "int8, bf16")}  # StableQuant's rows of engines.tsv


def plot_demo(table: pd.DataFrame, path: Path) -> None:
    """Draw the engines of the demo in ``peers.tsv``."""
    plot_peers(table[table["model"] == "demo"], path)


def plot_whisper(table: pd.DataFrame, path: Path) -> None:
    """Draw WER against speed for the engines in ``whisper.tsv``. A WER far above fp32's does not set the scale.

    The title compares our engine with our fp32. Sizes are shares of our fp32 networks, as in the documents: GenAI
    stores fp32 in half precision.
    """
    table = table.rename(columns={"engine": "backend"})
    table["method"] = table["method"].where(~table["method"].isin(FP32), "fp32")
    table["name"] = table["backend"].replace(NAMES) + " " + table["method"]
    fp32 = table[table["method"] == "fp32"].set_index("backend")
    table["size_ratio"] = table["size_bytes"] / fp32.loc["openvino", "size_bytes"]
    table["speedup"] = table["rtfx"] / table["backend"].map(fp32["rtfx"])
    plot_tradeoff(table, path, against=["rtfx"], cut=True, audio="LibriSpeech", backend="openvino")


def plot_engines(table: pd.DataFrame, path: Path) -> None:
    """Draw size against speed for the engines in ``engines.tsv`` that ran."""
    shown = table[table["audio_seconds"] == "mix"]
    own = shown["backend"].isin(OWN["backend"]) & shown["precision"].isin(OWN["precision"])
    names = shown["backend"] + " " + shown["precision"]
    method = shown["precision"].where(shown["precision"] == "fp32", "other").mask(own, "stablequant")
    shown = shown.assign(name=names, method=method, megabytes=shown["file_bytes"] / 1e6)
    figure, axes = plt.subplots(figsize=(8, 4 + figures.TITLE))
    marks = draw_marks(axes, shown, "throughput", "megabytes")
    axes.set_xlim(0, 1.07 * shown["throughput"].max())
    axes.set_ylim(0, 1.1 * shown["megabytes"].max())
    axes.set_xlabel("speed, seconds of audio per second")
    axes.set_ylabel("size of the engine's files, MB")
    axes.grid(color=figures.PALE, linewidth=0.5)
    best = shown[own].sort_values("throughput").iloc[-1]
    fp32 = shown[(shown["backend"] == best["backend"]) & (shown["method"] == "fp32")].iloc[0]
    message = (
        f"StableQuant: {best['throughput'] / fp32['throughput']:.1f} times the speed of {fp32['name']}, "
        f"{best['file_bytes'] / fp32['file_bytes']:.2f} of its size"
    )
    figures.title(
        figure, message, "in colour: StableQuant's graph; better is: lower (smaller), right (faster)", right=1
    )
    label_marks(axes, marks, figure.get_figwidth())
    figures.save(figure, path)


PICTURES: dict[str, tuple[str, Callable[[pd.DataFrame, Path], None]]] = {  # by their table
    "benchmarks/peers.tsv": ("docs/assets/peers.svg", plot_demo),
    "benchmarks/whisper.tsv": ("docs/assets/whisper.svg", plot_whisper),
    "benchmarks/engines.tsv": ("docs/assets/engines.svg", plot_engines),
}


def main() -> None:
    for source, (picture, plot) in PICTURES.items():
        if (PROJECT / source).is_file():
            plot(read_table(PROJECT / source, text=("model", "method")), PROJECT / picture)
            print(picture)


if __name__ == "__main__":
    main()
