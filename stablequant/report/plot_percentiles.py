"""Plot of WER against the cut-off percentile, for each searched layer."""

from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures

COLOURS = [figures.OURS, "#c25e00", "#3f51b5", "#8e24aa", "#5d4037", "#546e7a"]


def plot_percentiles(table: pd.DataFrame, path: Path) -> None:
    """Draw one line per layer in ``percentiles.tsv``: its WER at each cut-off. The best cut-off has a filled mark.

    A cut-off that racing stopped early is a dot beside the line: its WER covers only the audio recognised until then.
    A cut-off that was only screened has no mark.
    """
    figure, axes = plt.subplots(figsize=(8, 3.8 + figures.TITLE))
    styles = zip(cycle(COLOURS), cycle("os^DvPX*"), cycle(["-", "--", ":"]))  # 24 that differ without colour too
    grid = sorted(table["percentile"].unique())
    ends: list[tuple[float, float]] = []
    names, colours = [], []
    recognised = table[table["wer"].notna()]
    for (layer, rows), (colour, marker, stroke) in zip(recognised.groupby("layer", sort=False), styles, strict=False):
        places = rows["percentile"].map(grid.index)
        whole = rows["wer"].mask(rows["stopped"].astype(bool))
        axes.plot(places, whole, marker + stroke, color=colour, markerfacecolor="white", linewidth=1.4, label=layer)
        for chosen, mark, size in (("best", marker, 9), ("stopped", ".", 5)):
            marked = rows[chosen].astype(bool)
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


def _message(table: pd.DataFrame) -> str:
    """The layer that gains most by its cut-off, against all of its range."""
    unclipped = table[table["percentile"] == 100].set_index("layer")["wer"]
    best = table[table["best"].astype(bool)].set_index("layer")
    gained = (unclipped - best["wer"]).dropna()
    if gained.empty:
        return "Which share of its activations each searched layer keeps"
    layer = str(gained.sort_values(kind="stable").index[-1])
    if gained[layer] <= 0:
        return "No searched layer gains by clipping"
    chosen = best.loc[layer]
    cut = f"Clipping {layer} at {chosen['percentile']:g} %"
    return f"{cut} brings WER from {unclipped[layer]:.2f} to {chosen['wer']:.2f} %"
