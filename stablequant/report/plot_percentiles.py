"""Plot of WER against the cut-off percentile, for each searched layer."""

from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_percentiles(table: pd.DataFrame, path: Path) -> None:
    """Draw one line per layer in ``percentiles.tsv``: its WER at each cut-off. The best cut-off has a filled mark.

    A cut-off that racing stopped early is a dot beside the line: its WER covers only the audio recognised until then.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5))
    styles = zip(cycle("os^DvPX*"), cycle(["-", "--", ":"]))  # 24 pairs that differ without colour too
    grid = sorted(table["percentile"].unique())
    for (layer, rows), (marker, stroke) in zip(table.groupby("layer", sort=False), styles, strict=False):
        places = rows["percentile"].map(grid.index)
        line = axes.plot(
            places,
            rows["wer"].mask(rows["stopped"].astype(bool)),
            marker + stroke,
            markerfacecolor="white",
            label=layer,
            linewidth=1.4,
        )[0]
        for chosen, mark, size in (("best", marker, 9), ("stopped", ".", 5)):
            marked = rows[chosen].astype(bool)
            axes.plot(places[marked], rows["wer"][marked], mark, color=line.get_color(), markersize=size)
    axes.set_xticks(range(len(grid)), [f"{p:g}" for p in grid])
    axes.set_xlabel("cut-off percentile of the layer's activations, %")
    axes.set_ylabel("WER on the calibration set, %")
    if len(table):
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), ncols=-(-table["layer"].nunique() // 16))
    else:
        axes.text(0.5, 0.5, "no layer was selected", transform=axes.transAxes, ha="center")
    figures.save(figure, path)
