"""Plot of histograms of activations, with the ranges that were chosen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import matplotlib.pyplot as plt
import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import full_range, percentile_range
from stablequant.recognisers.modules import layer_of_activation
from stablequant.report import figures

BINS = 512  # of the same width, in a plot
LEGEND = 0.35  # inches below the plots


class Scale(TypedDict):
    """What the plot needs of an activation in ``scales/stablequant.json``: its range, and its cut-off in percent."""

    low: float
    high: float
    percentile: float


def plot_histograms(
    histograms: Mapping[str, Histogram], scales: Mapping[str, Scale], layers: Sequence[str], path: Path
) -> None:
    """Draw one histogram per activation of ``layers``, with logarithmic counts and three ranges.

    The ranges are: all values (MAX), the cut-off percentile of the layer, and the least squared error. Each title names
    the activation and the cut-off. ``histograms`` and ``scales`` are by activation name.
    """
    shown = [name for name in histograms if layer_of_activation(name) in layers and name in scales]
    rows = max(1, -(-len(shown) // 2))
    figure, grid = plt.subplots(rows, 2, figsize=(8, 2.1 * rows + 0.2 + LEGEND + figures.TITLE), squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.set_axis_off()
    for name, axes in zip(shown, grid.ravel(), strict=False):
        histogram, row = histograms[name], scales[name]
        equal = histogram.rebinned(BINS)
        axes.stairs(np.maximum(equal.counts, 0.5), equal.edges, fill=True, color=figures.PALE, baseline=0.5)
        axes.set_yscale("log")
        ranges: dict[str, tuple[Range, dict[str, Any]]] = {  # the last two are often equal: a thin line on a wide one
            "MAX": (full_range(histogram), {"linestyle": ":", "color": "black"}),
            "least squared error": (
                Range(row["low"], row["high"]),
                {"linewidth": 4.5, "color": figures.OURS},
            ),
            "cut-off of the layer": (
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
    figures.title(figure, *_message(scales, shown, layers), below=LEGEND)
    if shown:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False)
    figures.save(figure, path)


def _message(scales: Mapping[str, Scale], shown: Sequence[str], layers: Sequence[str]) -> tuple[str, str]:
    clipped = {layer_of_activation(name) for name in shown if scales[name]["percentile"] < 100}
    return (
        f"Outliers are clipped in {len(clipped)} of the {len(layers)} layers that suffer most",
        "how often each value occurs; in brackets the share of values that is kept",
    )
