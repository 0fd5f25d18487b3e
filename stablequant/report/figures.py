"""Shared parts of all plots: colours, fonts, bars with intervals, and saving.

The plots can be read in black and white: marks that differ in colour also differ in shape or filling.
"""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stablequant.storage.files import replacing

LIGHT, MIDDLE, DARK = "#dbe4f0", "#7f9fcb", "#1f3b63"  # three different greys if printed without colour
plt.rcParams.update(
    {"svg.hashsalt": "stablequant", "font.size": 13, "axes.spines.top": False, "axes.spines.right": False}
)


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as SVG and close it. The same figure always gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def bars(axes: Axes, names: "pd.Series[str] | list[str]", table: pd.DataFrame, marked: "pd.Series[bool]") -> None:
    """Draw one bar per row of ``table``: its degradation with the 95 % interval. ``marked`` rows are darker."""
    interval = [
        (table["degradation"] - table["ci_low"]).clip(lower=0),
        (table["ci_high"] - table["degradation"]).clip(lower=0),
    ]
    shades = [MIDDLE if dark else LIGHT for dark in marked]
    axes.barh(names, table["degradation"], xerr=interval, color=shades, edgecolor=DARK, ecolor="black", capsize=3)
