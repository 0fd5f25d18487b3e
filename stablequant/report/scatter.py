"""Engines as points of a plot, each with its name beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from stablequant.report import figures

MARKS = {"stablequant": ("o", figures.OURS, 11), "fp32": ("D", figures.INK, 8)}  # shape, colour, size in points
OTHER = ("o", figures.OTHERS, 7)
BEYOND = "^"  # of a point above the axis
FONT = 10.5  # points
GAP = 4  # points between a mark and its label
ABOVE = 9  # points above the axes that a label may take
SHUFFLES = 100  # random orders in which labels are placed
BESIDE = 4  # the first places of a label touch its mark and need no line


def draw_marks(axes: Axes, engines: pd.DataFrame, x: str, y: str, ceiling: float = float("inf")) -> list[Line2D]:
    """Draw each row of ``engines`` at its columns ``x`` and ``y``. Its ``method`` decides shape and colour.

    The column ``name`` is the label. A row whose ``y``, in percent, is above ``ceiling`` is drawn there as an
    arrowhead, and its label tells the number.
    """
    marks = []
    for row in engines.to_dict("records"):
        shape, colour, size = MARKS.get(row["method"], OTHER)
        front, label = 3 if row["method"] in MARKS else 2, row["name"]
        if row[y] > ceiling:
            shape, label = BEYOND, f"{label}: {row[y]:.0f} %"
        place = row[x], min(row[y], ceiling)
        marks += axes.plot(*place, shape, markersize=size, color=colour, zorder=front, label=label, clip_on=False)
    return marks


def label_marks(axes: Axes, marks: Sequence[Line2D], right: float) -> None:
    """Write the label of each mark beside it, where it hides neither a mark nor another label.

    If there is no such place, the label is moved, and a thin line leads to its mark. Labels reach from the left end of
    ``axes`` to ``right``, in inches from the left of the figure. Limits and layout of the axes must be set before.
    """
    if not marks:
        return
    point = 72 / axes.figure.dpi  # points per pixel; all lengths below are in points
    left, low, _, high = point * np.array(axes.get_window_extent().extents)
    room = np.array([left, low, 72 * right, high + ABOVE])
    data = np.vstack([mark.get_xydata() for mark in marks])
    styles = [_style(mark) for mark in marks]
    sizes = np.array([point * _size(axes, mark, style) for mark, style in zip(marks, styles, strict=True)])
    radii = np.array([0.5 * mark.get_markersize() for mark in marks])
    places = [_places(radius, height, len(marks)) for radius, (_, height) in zip(radii, sizes, strict=True)]
    ends, anchors = np.split(np.array(places), 2, axis=2)
    offsets = ends - anchors * sizes[:, None]
    centres = point * axes.transData.transform(data)
    x, y = centres.T
    others = [mark.get_color() != figures.OURS for mark in marks]  # are placed last
    orders = [np.lexsort((along, others)) for along in (-y, y, x, -x)]
    shapes = _spans(centres - radii[:, None], 2 * radii[:, None])
    labels, lines = _spans(centres[:, None] + offsets, sizes[:, None]), _spans(centres[:, None], ends)
    lines[:, :BESIDE] = np.nan  # is no line, and crosses nothing
    chosen = _choose(orders, shapes, labels, lines, room)
    for number, (mark, place) in enumerate(zip(marks, chosen, strict=True)):
        line = {"arrowstyle": "-", "color": figures.OTHERS, "linewidth": 0.8, "shrinkA": 0, "shrinkB": radii[number]}
        axes.annotate(
            str(mark.get_label()),
            xy=tuple(data[number]),
            xytext=tuple(offsets[number, place]),
            textcoords="offset points",
            va="bottom",
            annotation_clip=False,
            arrowprops=line | {"relpos": anchors[number, place]} if place >= BESIDE else None,
            **styles[number],
        )


def _style(mark: Line2D) -> dict[str, Any]:
    colour = mark.get_color()
    bold = "bold" if colour == figures.OURS else "normal"
    return {"fontsize": FONT, "color": figures.INK if colour == figures.OTHERS else colour, "fontweight": bold}


def _size(axes: Axes, mark: Line2D, style: dict[str, Any]) -> np.ndarray:
    """Width and height of the mark's label in pixels, float64 ``(2,)``."""
    probe = axes.text(0, 0, str(mark.get_label()), **style)
    size = np.array(probe.get_window_extent().size)
    probe.remove()
    return size


def _places(radius: float, height: float, most: int) -> list[tuple[float, float, float, float]]:
    """Places of a label of this ``height`` around its mark, the best first; ``most`` labels find room in them.

    A place is two coordinates from the centre of the mark to where a line to the label ends, and that end in shares of
    the label's width and height.
    """
    side, over = radius + GAP, radius + 0.25 * GAP
    places = [(side, 0, 0, 0.5), (-side, 0, 1, 0.5), (0, over, 0.5, 0), (0, -over, 0.5, 1)]  # as many as `BESIDE`
    for step in range(1, most + 1):
        for sign, edge in ((1, 0), (-1, 1)):
            shift = sign * step * height
            places += [(side + GAP, shift, 0, 0.5), (-side - GAP, shift, 1, 0.5), (0, shift + sign * GAP, 0.5, edge)]
    return places


def _spans(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Lines from ``starts`` ``(..., 2)`` to ``starts + sizes``, or boxes between these corners, ``(..., 4)``."""
    return np.concatenate(np.broadcast_arrays(starts, starts + sizes), axis=-1)


def _choose(
    orders: Sequence[np.ndarray], marks: np.ndarray, labels: np.ndarray, lines: np.ndarray, room: np.ndarray
) -> np.ndarray:
    """Choose a place for each label, int ``(marks,)``, so that few lines cross a mark or a label, and few are long.

    The labels are placed one after the other in each of the ``orders`` and in random ones, and once more when all
    others have a place. The best of these layouts is taken. ``marks`` ``(marks, 4)`` are boxes, ``labels`` and
    ``lines`` ``(marks, places, 4)`` are those of each place. A label has to be within ``room`` ``(4,)``; one that fits
    nowhere gets its first place.
    """
    inside = np.all(labels[..., :2] >= room[:2], axis=2) & np.all(labels[..., 2:] <= room[2:], axis=2)
    others = ~np.eye(len(marks), dtype=bool)[:, None]
    margins = 0.7 * GAP * np.array([-1, -1, 1, 1])
    fits = inside & ~(_overlap(labels[:, :, None], marks + margins) & others).any(axis=2)
    apart = ~_overlap(marks[:, None, None], marks)
    across = (_crosses(lines[:, :, None], marks) & apart).sum(axis=2)

    def crossings(number: int, placed: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """How many lines cross something for each place of a label among those ``placed``; infinite if it is taken."""
        there = placed, chosen[placed]
        free = fits[number] & ~_overlap(labels[number][:, None], labels[there]).any(axis=1)
        found = across[number] + _crosses(lines[number][:, None], labels[there]).sum(axis=1)
        found += _crosses(lines[there], labels[number][:, None]).sum(axis=1)
        return np.where(free, found, np.inf)

    def layout(order: np.ndarray) -> tuple[float, int, np.ndarray]:
        chosen = np.zeros(len(marks), dtype=int)
        for step, number in enumerate(order):
            chosen[number] = np.argmin(crossings(number, order[:step], chosen))  # the first of the best
        for number in order:
            chosen[number] = np.argmin(crossings(number, order[order != number], chosen))
        crossed = sum(crossings(number, order[order != number], chosen)[chosen[number]] for number in order)
        return crossed, int(chosen.sum()), chosen

    draw = np.random.default_rng(0)
    shuffled = [draw.permutation(len(marks)) for _ in range(SHUFFLES)]
    return min(map(layout, [*orders, *shuffled]), key=lambda found: found[:2])[2]


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether ``boxes`` ``(..., 4)`` overlap ``others`` ``(..., 4)``, bool ``(...)``."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    overlap: np.ndarray = np.all(low < high, axis=-1)
    return overlap


def _crosses(lines: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether ``lines`` ``(..., 4)``, from start to end, meet ``boxes`` ``(..., 4)``, bool ``(...)``.

    A line is within a box from its last entry to its first exit on either axis (Liang and Barsky, 1984).
    """
    starts, ways = lines[..., :2], lines[..., 2:] - lines[..., :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (boxes[..., :2] - starts) / ways, (boxes[..., 2:] - starts) / ways
    enters, leaves = np.fmin(low, high).max(axis=-1), np.fmax(low, high).min(axis=-1)
    crosses: np.ndarray = np.maximum(enters, 0) < np.minimum(leaves, 1)
    return crosses
