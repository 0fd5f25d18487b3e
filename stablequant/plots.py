"""The report's plots. They read in black and white: what differs, differs in shape or filling too."""

from itertools import cycle
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("svg")
import matplotlib.pyplot as plt

from stablequant.files import replacing

plt.rcParams.update(
    {"svg.hashsalt": "stablequant", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
)


def _save(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _error_bars(table: pd.DataFrame) -> list[pd.Series]:
    return [
        (table["degradation"] - table["ci_low"]).clip(lower=0),
        (table["ci_high"] - table["degradation"]).clip(lower=0),
    ]


def plot_sensitivity(table: pd.DataFrame, threshold: float, path: Path) -> None:
    """Bars of ``sensitivity.tsv``, selected layers dark."""
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(table) + 1.2))
    shades = ["#1f3b63" if selected else "#b8c7dc" for selected in table["selected"]]
    axes.barh(table["layer"], table["degradation"], xerr=_error_bars(table), color=shades, ecolor="#555555", capsize=2)
    axes.axvline(threshold, color="#c23b22", linestyle="--", label=f"threshold, {threshold} points")
    axes.set_xscale("symlog", linthresh=1, linscale=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("degradation, points of WER (logarithmic beyond 1)")
    axes.invert_yaxis()
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def plot_percentiles(table: pd.DataFrame, path: Path) -> None:
    """One line per layer of ``percentiles.tsv``: WER at each cut-off, the best one filled, one given up a dot."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    styles = cycle(["o-", "s--", "^-.", "D:", "v-", "P--", "X-.", "*:"])
    grid = sorted(table["percentile"].unique())
    for (layer, rows), style in zip(table.groupby("layer", sort=False), styles, strict=False):
        places = rows["percentile"].map(grid.index)
        line = axes.plot(places, rows["wer"], style, markerfacecolor="white", label=layer, linewidth=1.4)[0]
        for chosen, marker, size in (("best", style[0], 9), ("stopped", ".", 5)):
            marked = rows[chosen].astype(bool)
            axes.plot(places[marked], rows["wer"][marked], marker, color=line.get_color(), markersize=size)
    axes.set_xticks(range(len(grid)), [f"{p:g}" for p in grid])
    axes.set_xlabel("cut-off percentile of the layer's activations, %")
    axes.set_ylabel("WER on the calibration set, %")
    if len(table):
        axes.legend(frameon=False, ncols=2)
    else:
        axes.text(0.5, 0.5, "no layer was selected", transform=axes.transAxes, ha="center")
    _save(figure, path)


def plot_comparison(table: pd.DataFrame, path: Path) -> None:
    """Degradation of each evaluated method of ``comparison.tsv``, size ratio written beside it."""
    shown = table[table["degradation"].notna() & (table["method"] != "fp32")]
    figure, axes = plt.subplots(figsize=(8, 0.45 * max(1, len(shown)) + 1.2))
    names = [f"{row.method} ({row.backend})" for row in shown.itertuples()]
    shades = ["#1f3b63" if method == "stablequant" else "#b8c7dc" for method in shown["method"]]
    axes.barh(names, shown["degradation"], xerr=_error_bars(shown), color=shades, ecolor="#555555", capsize=3)
    columns = (shown[name].astype(float) for name in ("degradation", "ci_high", "onnx_ratio"))
    for place, (lost, high, ratio) in enumerate(zip(*columns, strict=True)):
        axes.text(max(high, 0), place, f"  {lost:.2f} points, {ratio:.3f} of the size", va="center")
    axes.set_xlabel("degradation against fp32 on the same backend, points of WER")
    axes.margins(x=0.35)
    axes.invert_yaxis()
    _save(figure, path)
