"""Plot of WER against size and speed, for each engine."""

from itertools import cycle, product
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures


def plot_tradeoff(table: pd.DataFrame, path: Path) -> None:
    """Draw each evaluated engine in ``comparison.tsv`` twice: WER against size, and WER against speed.

    WER is in percent, size is a fraction of the size of fp32, and speed is in seconds of audio per second.
    """
    shown = table[table["wer"].notna()]
    legend = 0.22 * -(-len(shown) // 3) + 0.1  # inches
    figure, (size, speed) = plt.subplots(1, 2, figsize=(8, 3.4 + legend), sharey=True)
    several = len(set(shown["backend"])) > 1
    marks = cycle(product(("full", "left", "bottom"), "osD^vPX*<>phd8"))  # 42 pairs that also differ without colour
    for row, (filled, marker) in zip(shown.itertuples(), marks, strict=False):
        ours = row.method == "stablequant"
        for axes, value in ((size, row.size_ratio), (speed, row.rtfx)):
            axes.plot(
                value,
                row.wer,
                marker,
                markersize=10 if ours else 7,
                color=figures.DARK,
                fillstyle=filled,
                markerfacecolor=figures.DARK if ours or filled != "full" else "white",
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
    figures.save(figure, path)
