"""Plot of the degradation of each engine."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_comparison(table: pd.DataFrame, path: Path) -> None:
    """Draw one bar per evaluated engine in ``comparison.tsv``: its degradation, with its size ratio as text."""
    shown = table[table["degradation"].notna() & (table["method"] != "fp32")]
    figure, axes = plt.subplots(figsize=(8, 0.45 * max(1, len(shown)) + 1.2))
    names = [f"{row.method} ({row.backend})" for row in shown.itertuples()]
    figures.bars(axes, names, shown, shown["method"] == "stablequant")
    columns = (shown[name].astype(float) for name in ("degradation", "ci_high", "size_ratio"))
    for place, (lost, high, ratio) in enumerate(zip(*columns, strict=True)):
        axes.text(max(high, 0), place, f"  {lost:.2f} points, {ratio:.3f} of fp32's size", va="center")
    axes.set_xlabel("degradation against fp32 on the same backend, points of WER")
    axes.margins(x=0.35)
    axes.invert_yaxis()
    figures.save(figure, path)
