"""Plot of WER against size and speed, for each engine."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from stablequant.report import figures
from stablequant.report.compare import NOT_MEASURABLE
from stablequant.report.scatter import draw_marks, label_marks

AXES = {"size_ratio": "engine size, as a share of fp32's", "rtfx": "speed, seconds of audio per second"}
BETTER = {"size_ratio": "smaller (left)", "rtfx": "faster (right)"}
MARGIN = 1.2  # inches to the right of the axes, for labels; long ones reach `MORE` beyond the figure
MORE = 0.5  # inches
BETWEEN = 0.12  # inches between the labels of one panel and the next panel
BEYOND = 2.0  # times fp32's WER: from there on a point is off the scale, if that is asked for


def plot_tradeoff(
    table: pd.DataFrame,
    path: Path,
    against: Sequence[str] = tuple(AXES),
    cut: bool = False,
    audio: str = "evaluation split",
    backend: str | None = None,
) -> None:
    """Draw each evaluated engine in ``comparison.tsv`` once for each column in ``against``: its WER against it.

    WER is in percent, size is a fraction of the size of fp32, and speed is in seconds of audio per second. With
    ``cut``, engines with more than `BEYOND` times the WER of fp32 do not set the scale: they lie at the upper edge, and
    their labels tell their WER. ``audio`` says what was recognised. The title compares StableQuant's engine of the
    ``backend`` with fp32, by default the one with the lowest WER.
    """
    shown = table[table["wer"].notna()]
    several = len(set(shown["backend"])) > 1
    if "name" not in shown:
        names = [f"{row.method} ({row.backend})" if several else str(row.method) for row in shown.itertuples()]
        shown = shown.assign(name=names)
    width, height = 9.4 if len(against) > 1 else 8, max(4.2, 0.2 * len(shown)) + figures.TITLE
    figure, panels = plt.subplots(1, len(against), figsize=(width, height), sharey=True, squeeze=False)
    ceiling = _ceiling(shown) if cut else float("inf")
    marks = [draw_marks(axes, shown, column, "wer", ceiling) for axes, column in zip(panels[0], against, strict=True)]
    for axes, column in zip(panels[0], against, strict=True):
        axes.set_xlabel(AXES[column])
        axes.grid(color=figures.PALE, linewidth=0.5)
        if len(shown):
            axes.set_xlim(0, 1.07 * shown[column].max())
            axes.set_ylim(0, min(1.07 * shown["wer"].max(), ceiling) or None)
    panels[0, 0].set_ylabel("WER, %")
    detail = f"{audio}; better is: lower, {', '.join(BETTER[column] for column in against)}"
    best = _best(shown if backend is None else shown[shown["backend"] == backend])
    if new := _at_new_lengths(best):
        detail += f"; {new}"
    if (shown["wer"] > ceiling).any():
        detail += "; ▲: higher than the axis reaches"
    figures.title(figure, _message(best, shown), detail, right=MARGIN)
    ends = [axes.get_window_extent().x0 / figure.dpi - BETWEEN for axes in panels[0, 1:]]
    for axes, points, end in zip(panels[0], marks, [*ends, width + MORE], strict=True):
        label_marks(axes, points, end)
    figures.save(figure, path)


def _ceiling(shown: pd.DataFrame) -> float:
    """Where the axis of WER ends: above all engines with up to `BEYOND` times the WER of fp32."""
    fp32 = shown.loc[shown["method"] == "fp32", "wer"]
    near = shown.loc[shown["wer"] <= BEYOND * fp32.max(), "wer"]
    return float("inf") if len(near) == len(shown) else 1.25 * float(near.max())


def _best(shown: pd.DataFrame) -> pd.Series | None:
    """StableQuant's row with the lowest WER, if there is one."""
    ours = shown[shown["method"] == "stablequant"]
    return None if ours.empty else ours.sort_values("wer").iloc[0]


def _at_new_lengths(best: pd.Series | None) -> str:
    """An engine's speed at lengths of audio that it meets for the first time; blank if that was not measured."""
    new = None if best is None else best.get("new_speedup")
    if new is None or pd.isna(new) or new == NOT_MEASURABLE:
        return ""
    return f"{new:.1f} times the speed at new lengths of audio"


def _message(best: pd.Series | None, shown: pd.DataFrame) -> str:
    fp32 = shown[shown["method"] == "fp32"]
    if best is None or fp32.empty:
        return "WER, size and speed of each engine"
    plain = fp32[fp32["backend"] == best["backend"]]
    if plain.empty:
        return f"StableQuant has {best['wer']:.1f} % WER at {best['size_ratio']:.2f} of fp32's size"
    faster = best["speedup"]
    speed = "" if pd.isna(faster) or faster == NOT_MEASURABLE else f", {faster:.1f} times the speed"
    return (
        f"StableQuant: {best['wer']:.1f} % WER where fp32 has {plain['wer'].iloc[0]:.1f} %, "
        f"{best['size_ratio']:.2f} of the size{speed}"
    )
