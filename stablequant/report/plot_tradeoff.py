"""Plot of WER against size and speed, for each engine."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures
from stablequant.report.compare import NOT_MEASURABLE


def plot_tradeoff(table: pd.DataFrame, path: Path) -> None:
    """Draw each evaluated engine in ``comparison.tsv`` twice: WER against size, and WER against speed.

    WER is in percent, size is a fraction of the size of fp32, and speed is in seconds of audio per second.
    """
    shown = table[table["wer"].notna()]
    figure, (size, speed) = plt.subplots(
        1, 2, figsize=(8, max(3.6, 0.2 * len(shown)) + figures.TITLE), sharey=True, width_ratios=[1, 1.25]
    )
    several = len(set(shown["backend"])) > 1
    ends: list[tuple[float, float]] = []
    names, colours = [], []
    for row in shown.to_dict("records"):
        mark, colour, pixels = {"stablequant": ("o", figures.OURS, 11), "fp32": ("D", figures.INK, 8)}.get(
            row["method"], ("o", figures.OTHERS, 7)
        )
        name = f"{row['method']} ({row['backend']})" if several else row["method"]
        front = 3 if row["method"] in ("stablequant", "fp32") else 2
        for axes, value in ((size, row["size_ratio"]), (speed, row["rtfx"])):
            axes.plot(value, row["wer"], mark, markersize=pixels, color=colour, zorder=front, label=name)
        ends.append((row["rtfx"], row["wer"]))
        names.append(name)
        colours.append(colour)
    size.set_xlabel("engine size, as a share of fp32's")
    speed.set_xlabel("speed, seconds of audio per second")
    size.set_ylabel("WER, %")
    for axes in (size, speed):
        axes.grid(color=figures.PALE, linewidth=0.5)
    if len(shown):
        size.set_xlim(0, 1.07 * shown["size_ratio"].max())
        speed.set_xlim(0, 1.07 * shown["rtfx"].max())
        size.set_ylim(0, 1.07 * shown["wer"].max() or None)
    figures.title(figure, _message(shown), "evaluation split; low is good; so is small (left) and fast (right)")
    figures.label_at_the_right(speed, ends, names, colours)
    figures.save(figure, path)


def _message(shown: pd.DataFrame) -> str:
    ours, fp32 = (shown[shown["method"] == method] for method in ("stablequant", "fp32"))
    if ours.empty or fp32.empty:
        return "WER, size and speed of each engine"
    best = ours.sort_values("wer").iloc[0]
    plain = fp32[fp32["backend"] == best["backend"]]
    if plain.empty:
        return f"StableQuant has {best['wer']:.1f} % WER at {best['size_ratio']:.2f} of fp32's size"
    faster = best["speedup"]
    speed = "" if pd.isna(faster) or faster == NOT_MEASURABLE else f", {faster:.1f} times the speed"
    return (
        f"StableQuant: {best['wer']:.1f} % WER where fp32 has {plain['wer'].iloc[0]:.1f} %, "
        f"{best['size_ratio']:.2f} of the size{speed}"
    )
