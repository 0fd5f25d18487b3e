"""Plot of histograms of activations, with the ranges that were chosen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import matplotlib.pyplot as plt
import numpy as np

from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.ranges import full_range, percentile_range
from stablequant.recognisers.family import layer_of_activation
from stablequant.report import figures

BINS = 512  # of the same width, in a plot


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
    figure, grid = plt.subplots(rows, 2, figsize=(8, 2.1 * rows + 0.8), squeeze=False)
    for axes in grid.ravel()[len(shown) :]:
        axes.set_axis_off()
    for name, axes in zip(shown, grid.ravel(), strict=False):
        histogram, row = histograms[name], scales[name]
        equal = histogram.rebinned(BINS)
        axes.stairs(np.maximum(equal.counts, 0.5), equal.edges, fill=True, color=figures.LIGHT, baseline=0.5)
        axes.set_yscale("log")
        ranges: dict[str, tuple[Range, dict[str, Any]]] = {  # the last two are often equal: a thin line on a wide one
            "MAX": (full_range(histogram), {"linestyle": ":", "color": "black"}),
            "least squared error": (Range(row["low"], row["high"]), {"linewidth": 4.5, "color": figures.MIDDLE}),
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
    figures.save(figure, path)
