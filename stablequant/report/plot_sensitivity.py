"""Plot of the degradation of each layer when only this layer is quantized."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures
from stablequant.search.select_layers import most_sensitive

LINEAR = 5  # points of WER; where a layer loses more, the axis is logarithmic beyond 1
TICKS = [-10, -1, 0, 1, 2, 5, 10, 20, 50, 100]


def plot_sensitivity(table: pd.DataFrame, threshold: float, path: Path) -> None:
    """Draw one bar per row of ``sensitivity.tsv``, coloured for selected layers; ``threshold`` is in points of WER.

    The layer that loses most is at the top. Layers that were only screened have no bar, and are at the bottom.
    """
    table = most_sensitive(table, len(table))
    figure, axes = plt.subplots(figsize=(8, 0.27 * len(table) + 0.8 + figures.TITLE))
    selected = table["selected"].astype(bool)
    figures.bars(axes, table["layer"], table, selected)
    axes.axvline(threshold, color="#c23b22", linestyle="--", linewidth=1.4, label=f"threshold, {threshold} points")
    axes.margins(y=0.02)
    unit = ""
    low, high = min(table["ci_low"].min(), 0), max(table["ci_high"].max(), threshold)
    if high > LINEAR:
        axes.set_xscale("symlog", linthresh=1, linscale=1)
        axes.set_xticks([tick for tick in TICKS if low <= tick <= 2 * high])
        axes.xaxis.set_major_formatter("{x:g}")
        unit = " (logarithmic beyond 1)"
    axes.set_xlabel(f"points of WER lost{unit}")
    axes.invert_yaxis()
    axes.legend(loc="lower right", frameon=False)
    worst = table.iloc[0]
    detail = f"{worst['layer']} loses most, {figures.points(worst['degradation'])}; black lines: 95 % intervals"
    if screened := int(table["degradation"].isna().sum()):
        detail += f"; without a bar: only screened ({screened})"
    message = f"{selected.sum()} of {len(table)} layers lose more than {threshold} points when quantized alone"
    figures.title(figure, message, detail)
    figures.save(figure, path)
