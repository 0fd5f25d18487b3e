"""Shared parts of all plots: colours, titles, labels beside points, bars with intervals, and saving.

StableQuant has the same colour in every plot, and all else is grey. The plots can be read in black and white: marks
that differ in colour also differ in shape or filling. Their background is white, so that they look alike in dark mode.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stablequant.storage.files import replacing

OURS, OTHERS, PALE, INK = "#00796b", "#90a4ae", "#cfd8dc", "#263238"  # the first three print as different greys
plt.rcParams.update(
    {
        "svg.hashsalt": "stablequant",
        "font.size": 12,
        "text.color": INK,
        "axes.edgecolor": OTHERS,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": "white",
    }
)
TITLE = 0.75  # inches above the axes, for two lines of text


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as SVG and close it. The same figure always gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", pad_inches=0.15, metadata={"Date": None})
    plt.close(figure)


def title(figure: Figure, message: str, detail: str, below: float = 0, right: float = 0) -> None:
    """Lay out the axes of ``figure`` below its title: ``message``, and ``detail`` in a smaller line.

    The message says in words and numbers what the plot shows. ``below`` and ``right`` inches stay free beside the axes.
    """
    width, height = figure.get_size_inches()
    figure.tight_layout(rect=(0, below / height, 1 - right / width, 1 - TITLE / height))
    figure.text(0.01, 1 - 0.08 / height, message, fontsize=14, fontweight="bold", va="top")
    figure.text(0.01, 1 - 0.42 / height, detail, fontsize=11, va="top", color="#546e7a")


def points(value: float) -> str:
    """Percentage points of WER for a title: ``0.3 points``, and two digits below a tenth."""
    rounded = f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2f}"
    return f"{rounded if float(rounded) else rounded.removeprefix('-')} points"


def spread(places: Sequence[float], gap: float, low: float) -> list[float]:
    """``places`` moved so that neighbours are at least ``gap`` apart, in the same order, and none is below ``low``."""
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[tuple[list[float], float]] = []  # neighbours that touch: their places, and the first one's new place
    for index in order:
        members, start = [places[index]], max(places[index], low)
        while groups and groups[-1][1] + gap * len(groups[-1][0]) > start:
            members = groups.pop()[0] + members
            mean = sum(place - gap * number for number, place in enumerate(members)) / len(members)
            start = max(mean, low)
        groups.append((members, start))
    moved = [start + gap * number for members, start in groups for number in range(len(members))]
    return [moved[order.index(index)] for index in range(len(places))]


def label_at_the_right(
    axes: Axes, ends: Sequence[tuple[float, float]], labels: Sequence[str], colours: Sequence[str]
) -> None:
    """Write each label to the right of the axes, with a thin line to its point in ``ends``, ``(x, y)`` in data units.

    Limits of the axes must be set before.
    """
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = (high - low) * 0.19 / inches
    right = axes.get_xlim()[1]
    for (x, y), place, text, colour in zip(ends, spread([y for _, y in ends], gap, low), labels, colours, strict=True):
        axes.annotate(
            text,
            xy=(x, y),
            xytext=(right + 0.03 * (right - axes.get_xlim()[0]), place),
            color=colour if colour != OTHERS else INK,
            fontweight="bold" if colour == OURS else "normal",
            fontsize=11,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.8, "shrinkB": 5},
        )


def bars(axes: Axes, names: "pd.Series[str] | list[str]", table: pd.DataFrame, marked: "pd.Series[bool]") -> None:
    """Draw one bar per row of ``table``: its degradation with the 95 % interval. ``marked`` rows have the colour."""
    interval = [
        (table["degradation"] - table["ci_low"]).clip(lower=0),
        (table["ci_high"] - table["degradation"]).clip(lower=0),
    ]
    shades = [OURS if ours else OTHERS for ours in marked]
    whiskers = {"elinewidth": 1.2, "capthick": 1.2}
    axes.barh(names, table["degradation"], xerr=interval, color=shades, ecolor=INK, capsize=3, error_kw=whiskers)
    axes.axvline(0, color=OTHERS, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
