"""Plot of the degradation of each layer when only this layer is quantized."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_sensitivity(table: pd.DataFrame, threshold: float, path: Path) -> None:
    """Draw one bar per row of ``sensitivity.tsv``, darker for selected layers; ``threshold`` is in points of WER."""
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(table) + 1.2))
    figures.bars(axes, table["layer"], table, table["selected"].astype(bool))
    axes.axvline(threshold, color="#c23b22", linestyle="--", label=f"threshold, {threshold} points")
    axes.set_xscale("symlog", linthresh=1, linscale=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("degradation, points of WER (logarithmic beyond 1)")
    axes.invert_yaxis()
    axes.legend(loc="lower right", frameon=False)
    figures.save(figure, path)
