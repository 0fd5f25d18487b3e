"""Plot of the degradation of each engine."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_comparison(table: pd.DataFrame, path: Path) -> None:
    """Draw one bar per evaluated engine in ``comparison.tsv``: its degradation, and beside it this and its size.

    The engine that loses least is at the top.
    """
    shown = table[table["degradation"].notna() & (table["method"] != "fp32")]
    shown = shown.astype({"degradation": float, "ci_low": float, "ci_high": float, "size_ratio": float})
    shown = shown.sort_values("degradation", kind="stable")
    several = len(set(shown["backend"])) > 1
    figure, axes = plt.subplots(figsize=(8, 0.45 * max(1, len(shown)) + 0.8 + figures.TITLE))
    names = [f"{row.method} ({row.backend})" if several else str(row.method) for row in shown.itertuples()]
    figures.bars(axes, names, shown, shown["method"] == "stablequant")
    for place, row in enumerate(shown.to_dict("records")):
        text = f"  {row['degradation']:.2f} points, {row['size_ratio']:.2f} of fp32's size"
        weight = "bold" if row["method"] == "stablequant" else "normal"
        axes.text(max(row["ci_high"], 0), place, text, va="center", fontsize=11, fontweight=weight)
    if len(shown):
        low, high = min(0, shown["ci_low"].min()), max(shown["ci_high"].max(), 0.5)
        axes.set_xlim(low - 0.01 * (high - low), high + 0.55 * (high - low))  # the text lies within
        axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    axes.set_xlabel("points of WER lost against fp32 on the same backend")
    axes.invert_yaxis()
    figures.title(figure, _message(shown), "evaluation split; black lines: 95 % intervals")
    figures.save(figure, path)


def _message(shown: pd.DataFrame) -> str:
    ours = shown.loc[shown["method"] == "stablequant", "degradation"]
    others = shown.loc[shown["method"] != "stablequant", "degradation"]
    if shown.empty:
        return "No quantized engine was evaluated"
    if ours.empty:
        return f"INT8 loses {figures.points(others.min())} of WER at best"
    beginning = f"StableQuant loses {figures.points(ours.max())} of WER"
    return f"{beginning}, the best other method {figures.points(others.min())}" if len(others) else beginning
