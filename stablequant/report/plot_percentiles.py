"""Plot of WER against the cut-off percentile, for each searched layer."""

from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.quantization.histograms import UNCLIPPED
from stablequant.report import figures

COLOURS = [figures.OURS, "#c25e00", "#3f51b5", "#8e24aa", "#5d4037", "#546e7a"]
NEUTRAL = "Which share of its activations each searched layer keeps"


def plot_percentiles(table: pd.DataFrame, path: Path) -> None:
    """Draw one line per layer in ``percentiles.tsv``: its WER at each cut-off. The best cut-off has a filled mark.

    A cut-off that racing ended early is a dot beside the line, or a filled mark if it is the best: its WER covers less
    audio than the line. A cut-off that was only screened has no mark.
    """
    figure, axes = plt.subplots(figsize=(8, 3.8 + figures.TITLE))
    styles = zip(cycle(COLOURS), cycle("os^DvPX*"), cycle(["-", "--", ":"]))  # 24 that differ without colour too
    grid = sorted(table["percentile"].unique())
    ends: list[tuple[float, float]] = []
    names, colours = [], []
    recognised = table[table["wer"].notna()]
    for (layer, rows), (colour, marker, stroke) in zip(recognised.groupby("layer", sort=False), styles, strict=False):
        places = rows["percentile"].map(grid.index)
        early = rows["stopped"].astype(bool) | ~on_most_audio(rows)
        whole = rows["wer"].mask(early)
        axes.plot(places, whole, marker + stroke, color=colour, markerfacecolor="white", linewidth=1.4, label=layer)
        best = rows["best"].astype(bool)
        for marked, mark, size in ((best, marker, 9), (early & ~best, ".", 5)):
            axes.plot(places[marked], rows["wer"][marked], mark, color=colour, markersize=size)
        heard = whole.notna() if whole.notna().any() else rows["wer"].notna()
        ends.append(max(zip(places[heard], rows["wer"][heard], strict=True)))
        names.append(str(layer))
        colours.append(colour)
    axes.set_xticks(range(len(grid)), [f"{p:g}" for p in grid])
    axes.set_xlabel("share of the layer's activations that is not clipped, %")
    axes.set_ylabel("WER, %")
    if table.empty:
        axes.text(0.5, 0.5, "no layer was selected", transform=axes.transAxes, ha="center")
    figures.title(figure, _message(table), "calibration split, one layer in INT8 at a time; the best is filled")
    axes.set_xlim(axes.get_xlim()), axes.set_ylim(axes.get_ylim())
    figures.label_at_the_right(axes, ends, names, colours)
    figures.save(figure, path)


def on_most_audio(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of ``percentiles.tsv`` have the WER of the most audio of their layer. Only these can be compared."""
    recognised = table["utterances"].where(table["wer"].notna())
    most: pd.Series[bool] = recognised == recognised.groupby(table["layer"]).transform("max")
    return most


def _message(table: pd.DataFrame) -> str:
    """The layer that gains most by its cut-off, against all of its range, on the same audio."""
    compared = table[on_most_audio(table)]
    unclipped = compared[compared["percentile"] == UNCLIPPED].set_index("layer")["wer"]
    best = compared[compared["best"].astype(bool)].set_index("layer")
    gained = (unclipped - best["wer"]).dropna()
    if gained.empty:
        return NEUTRAL
    layer = str(gained.sort_values(kind="stable").index[-1])
    if gained[layer] <= 0:
        return NEUTRAL if len(gained) < table["layer"].nunique() else "No searched layer gains by clipping"
    chosen = best.loc[layer]
    cut = f"Clipping {layer} at {chosen['percentile']:g} %"
    return f"{cut} brings WER from {unclipped[layer]:.2f} to {chosen['wer']:.2f} %"
