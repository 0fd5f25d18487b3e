"""The report's plots. They read in black and white: what differs, differs in shape or filling too."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("svg")
import matplotlib.pyplot as plt

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import full_range, percentile_range
from stablequant.recognisers.wav2vec2.layers import layer_of_activation
from stablequant.storage.files import replacing

LIGHT, MIDDLE, DARK = "#dbe4f0", "#7f9fcb", "#1f3b63"  # three greys when printed without colour
plt.rcParams.update(
    {"svg.hashsalt": "stablequant", "font.size": 13, "axes.spines.top": False, "axes.spines.right": False}
)


def _save(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _bars(axes: plt.Axes, names: pd.Series | list[str], table: pd.DataFrame, marked: pd.Series) -> None:
    """A bar for each row's degradation with its interval, darker where ``marked``."""
    interval = [
        (table["degradation"] - table["ci_low"]).clip(lower=0),
        (table["ci_high"] - table["degradation"]).clip(lower=0),
    ]
    shades = [MIDDLE if dark else LIGHT for dark in marked]
    axes.barh(names, table["degradation"], xerr=interval, color=shades, edgecolor=DARK, ecolor="black", capsize=3)


def plot_sensitivity(table: pd.DataFrame, threshold: float, path: Path) -> None:
    """Bars of ``sensitivity.tsv``, selected layers darker."""
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(table) + 1.2))
    _bars(axes, table["layer"], table, table["selected"].astype(bool))
    axes.axvline(threshold, color="#c23b22", linestyle="--", label=f"threshold, {threshold} points")
    axes.set_xscale("symlog", linthresh=1, linscale=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("degradation, points of WER (logarithmic beyond 1)")
    axes.invert_yaxis()
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def plot_percentiles(table: pd.DataFrame, path: Path) -> None:
    """One line per layer of ``percentiles.tsv``: WER at each cut-off, the best one filled.

    A cut-off that was given up is a dot beside the line, its WER that of the audio heard until then.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5))
    styles = zip(cycle("os^DvPX*"), cycle(["-", "--", ":"]))  # 24 that differ in black and white too
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
    _save(figure, path)


def plot_comparison(table: pd.DataFrame, path: Path) -> None:
    """Degradation of each evaluated method of ``comparison.tsv``, its engine's size ratio written beside it."""
    shown = table[table["degradation"].notna() & (table["method"] != "fp32")]
    figure, axes = plt.subplots(figsize=(8, 0.45 * max(1, len(shown)) + 1.2))
    names = [f"{row.method} ({row.backend})" for row in shown.itertuples()]
    _bars(axes, names, shown, shown["method"] == "stablequant")
    columns = (shown[name].astype(float) for name in ("degradation", "ci_high", "size_ratio"))
    for place, (lost, high, ratio) in enumerate(zip(*columns, strict=True)):
        axes.text(max(high, 0), place, f"  {lost:.2f} points, {ratio:.3f} of fp32's size", va="center")
    axes.set_xlabel("degradation against fp32 on the same backend, points of WER")
    axes.margins(x=0.35)
    axes.invert_yaxis()
    _save(figure, path)


def plot_histograms(
    histograms: Mapping[str, Histogram], scales: Mapping[str, Mapping[str, Any]], layers: Sequence[str], path: Path
) -> None:
    """Activations of ``layers`` on a logarithmic scale, with the ranges of MAX, the percentile and squared error.

    Their titles tell the layers' cut-offs.

    ``scales`` are rows of ``scales/stablequant.json`` by activation name, ``layers`` what is shown.
    """
    shown = [name for name in histograms if layer_of_activation(name) in layers and name in scales]
    rows = max(1, -(-len(shown) // 2))
    figure, grid = plt.subplots(rows, 2, figsize=(8, 2.1 * rows + 0.8), squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.set_axis_off()
    for name, axes in zip(shown, grid.ravel(), strict=False):
        histogram, row = histograms[name], scales[name]
        axes.stairs(np.maximum(histogram.counts, 0.5), histogram.edges, fill=True, color=LIGHT, baseline=0.5)
        axes.set_yscale("log")
        ranges: dict[str, tuple[Range, dict]] = {  # the last two often coincide, so that both must be seen then
            "MAX": (full_range(histogram), {"linestyle": ":", "color": "black"}),
            "least squared error": (Range(row["low"], row["high"]), {"linewidth": 4.5, "color": MIDDLE}),
            "percentile of the layer": (
                percentile_range(histogram, row["percentile"]),
                {"linestyle": "--", "linewidth": 1.3, "color": "black"},
            ),
        }
        for label, (limits, style) in ranges.items():
            ends = [limits.low, limits.high] if histogram.signed else [limits.high]
            for number, end in enumerate(ends):
                axes.axvline(end, label=None if number else label, **style)
        axes.set_title(f"{name} ({row['percentile']:g} %)", fontsize=12, loc="left")
        axes.set_xlabel("value" if histogram.signed else "magnitude")
        axes.set_ylabel("count")
    if shown:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="upper center", ncols=3, frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    _save(figure, path)


def plot_tradeoff(table: pd.DataFrame, path: Path) -> None:
    """WER of each evaluated engine of ``comparison.tsv`` against its size and its speed, both against fp32."""
    shown = table[table["wer"].notna()]
    legend = 0.22 * -(-len(shown) // 3) + 0.1  # inches
    figure, (size, speed) = plt.subplots(1, 2, figsize=(8, 3.4 + legend), sharey=True)
    several = len(set(shown["backend"])) > 1
    marks = cycle(product(("full", "left", "bottom"), "osD^vPX*<>phd8"))  # 42 that differ in black and white too
    for row, (filled, marker) in zip(shown.itertuples(), marks, strict=False):
        ours = row.method == "stablequant"
        for axes, value in ((size, row.size_ratio), (speed, row.rtfx)):
            axes.plot(
                value,
                row.wer,
                marker,
                markersize=10 if ours else 7,
                color=DARK,
                fillstyle=filled,
                markerfacecolor=DARK if ours or filled != "full" else "white",
                markerfacecoloralt="white",
                label=f"{row.method} ({row.backend})" if several else row.method,
            )
    size.set_xlabel("engine size, fraction of fp32's")
    speed.set_xlabel("speed, seconds of audio per second")
    size.set_ylabel("WER on the evaluation set, %")
    if len(shown):
        size.set_xlim(0, 1.07 * shown["size_ratio"].max())
        speed.set_xlim(0, 1.07 * shown["rtfx"].max())
        size.set_ylim(0, 1.07 * shown["wer"].max() or None)
        figure.legend(*size.get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, legend / (3.4 + legend), 1, 1))
    _save(figure, path)


def plot_peers(table: pd.DataFrame, path: Path) -> None:
    """The same of one model's rows of ``peers.tsv``, all engines OpenVINO's."""
    fp32 = table[table["method"] == "fp32"].iloc[0]
    plot_tradeoff(table.assign(backend="openvino", size_ratio=table["size_bytes"] / fp32["size_bytes"]), path)


def plot_timeline(jobs: pd.DataFrame, path: Path) -> None:
    """A bar for each job's work, one line per rule; ``jobs`` as `stablequant.workflow.timeline.read_jobs` gives them.

    Its title tells how many they are, their work, and the time that they took together.
    """
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    first = starts.groupby(jobs["rule"]).min().sort_values()
    figure, axes = plt.subplots(figsize=(8, 0.3 * max(1, len(first)) + 1.2))
    begin = starts.min()
    for place, rule in enumerate(first.index):
        chosen = jobs["rule"] == rule
        spans = [
            ((start - begin).total_seconds(), max(seconds, 0.5))
            for start, seconds in zip(starts[chosen], jobs.loc[chosen, "seconds"], strict=True)
        ]
        axes.broken_barh(spans, (place - 0.35, 0.7), facecolor=LIGHT, edgecolor=DARK, linewidth=0.8)
    axes.set_yticks(range(len(first)), first.index)
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the first job began its work")
    if len(jobs):
        span = (jobs["end"].max() - begin).total_seconds()
        title = f"{len(jobs)} jobs, {jobs['work'].sum():.0f} core seconds of work within {span:.0f} s"
        axes.set_title(title, fontsize=12, loc="left")
    _save(figure, path)
