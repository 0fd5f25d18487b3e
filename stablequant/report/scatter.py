"""Engines as points of a plot, each with its name beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from stablequant.report import figures

MARKS = {"stablequant": ("o", figures.OURS, 11), "fp32": ("D", figures.INK, 8)}  # shape, colour, size in points
OTHER = ("o", figures.OTHERS, 7)
BEYOND = "^"  # of a point above the axis
FONT = 10.5  # points
GAP = 4  # points between a mark and its label
ABOVE = 9  # points above the axes that a label may take


@dataclass(frozen=True)
class Mark:
    """A drawn point.

    Attributes
    ----------
    x, y: its place in data units
    label: what is to be written beside it
    colour: of the mark
    size: of the mark in points
    """

    x: float
    y: float
    label: str
    colour: str
    size: int


def draw_marks(axes: Axes, engines: pd.DataFrame, x: str, y: str, ceiling: float = float("inf")) -> list[Mark]:
    """Draw each row of ``engines`` at its columns ``x`` and ``y``. Its ``method`` decides shape and colour.

    The column ``name`` is the label. A row whose ``y``, in percent, is above ``ceiling`` is drawn there as an
    arrowhead, and its label tells the number.
    """
    marks = []
    for row in engines.to_dict("records"):
        shape, colour, size = MARKS.get(row["method"], OTHER)
        beyond = row[y] > ceiling
        label = f"{row['name']}: {row[y]:.0f} %" if beyond else str(row["name"])
        mark = Mark(row[x], min(row[y], ceiling), label, colour, size)
        front = 3 if row["method"] in MARKS else 2
        shape = BEYOND if beyond else shape
        axes.plot(mark.x, mark.y, shape, markersize=size, color=colour, zorder=front, label=row["name"], clip_on=False)
        marks.append(mark)
    return marks


def label_marks(axes: Axes, marks: Sequence[Mark], right: float) -> None:
    """Write the label of each mark beside it, where it hides neither a mark nor another label.

    If there is no such place, the label is moved, and a thin line leads to its mark. Labels reach from the left end of
    ``axes`` to ``right``, in inches from the left of the figure. Limits and layout of the axes must be set before.
    """
    if not marks:
        return
    dots = axes.figure.dpi  # pixels per inch; `pixel` is pixels per point
    pixel, frame = dots / 72, axes.get_window_extent()
    room = np.array([frame.x0, frame.y0, right * dots, frame.y1 + ABOVE * pixel])
    centres = axes.transData.transform([(mark.x, mark.y) for mark in marks])
    styles = [_style(mark) for mark in marks]
    sizes = [_size(axes, mark.label, style) for mark, style in zip(marks, styles, strict=True)]
    radii = np.array([0.5 * pixel * mark.size for mark in marks])
    x, y = centres.T
    ours = [mark.colour == figures.OURS for mark in marks]  # are placed first
    orders = [np.lexsort((along, ~np.array(ours))).tolist() for along in (-y, y, x, -x)]
    layouts = [_layout(order, centres, radii, sizes, room, GAP * pixel) for order in orders]
    _, places = min(layouts, key=lambda layout: layout[0])
    for mark, style, centre, place in zip(marks, styles, centres, places, strict=True):
        arrow = {"arrowstyle": "-", "color": figures.OTHERS, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0.5 * mark.size}
        axes.annotate(
            mark.label,
            xy=(mark.x, mark.y),
            xytext=tuple((place.box[:2] - centre) / pixel),
            textcoords="offset points",
            va="bottom",
            annotation_clip=False,
            arrowprops=arrow | {"relpos": place.anchor} if place.moved else None,
            **style,
        )


def _style(mark: Mark) -> dict[str, Any]:
    ours = mark.colour == figures.OURS
    colour = figures.INK if mark.colour == figures.OTHERS else mark.colour
    return {"fontsize": FONT, "color": colour, "fontweight": "bold" if ours else "normal"}


def _size(axes: Axes, label: str, style: Mapping[str, Any]) -> np.ndarray:
    """Width and height of a label in pixels, float64 ``(2,)``."""
    probe = axes.text(0, 0, label, **style)
    extent = probe.get_window_extent()
    probe.remove()
    return np.array([extent.width, extent.height])


class Place(NamedTuple):
    """A place of a label.

    Attributes
    ----------
    box: left, low, right and high end in pixels, float64 ``(4,)``
    anchor: where a line ends at the box, in shares of its width and its height
    moved: whether a line leads from the mark to it
    """

    box: np.ndarray
    anchor: tuple[float, float]
    moved: bool


def _layout(
    order: Sequence[int],
    centres: np.ndarray,
    radii: np.ndarray,
    sizes: Sequence[np.ndarray],
    room: np.ndarray,
    gap: float,
) -> tuple[int, list[Place]]:
    """A place for the label of each mark, chosen in this ``order``; before it, how often a line crosses something.

    ``centres`` ``(marks, 2)``, ``radii`` ``(marks,)`` and ``sizes``, width and height by mark, are in pixels.
    """
    found: dict[int, Place] = {}
    shapes = np.concatenate([centres - radii[:, None], centres + radii[:, None]], axis=1)
    labels, starts, ends = np.empty((0, 4)), np.empty((0, 2)), np.empty((0, 2))  # what is placed: boxes, and lines
    crossed = 0
    for number in order:
        own, centre = shapes[number], centres[number]
        places = list(_places(centre, radii[number] + gap, sizes[number], gap, len(order)))
        boxes = np.stack([place.box for place in places])
        near = np.concatenate([shapes + 0.7 * gap * np.array([-1, -1, 1, 1]), labels])
        near[number] = own
        inside = np.all(boxes[:, :2] >= room[:2], axis=1) & np.all(boxes[:, 2:] <= room[2:], axis=1)
        readable = inside & ~_overlap(boxes, near).any(axis=1)
        corners = boxes[:, :2] + np.array([place.anchor for place in places]) * sizes[number]
        apart = np.concatenate([shapes[~_overlap(own[None], shapes)[0]], labels])
        moved = np.array([place.moved for place in places])
        crossings = np.where(moved, _crosses(np.broadcast_to(centre, corners.shape), corners, apart).sum(axis=1), 0)
        crossings += _crosses(starts, ends, boxes).sum(axis=0)
        best = int(np.argmin(np.where(readable, crossings, np.inf)))  # the first of the best
        found[number] = places[best]
        crossed += int(crossings[best])
        labels = np.concatenate([labels, boxes[best : best + 1]])
        if places[best].moved:
            starts, ends = np.vstack([starts, centre]), np.vstack([ends, corners[best]])
    return crossed, [found[number] for number in range(len(centres))]


def _places(centre: np.ndarray, away: float, size: np.ndarray, gap: float, most: int) -> Iterator[Place]:
    """Places of a label around the mark at ``centre``, the best first; ``away`` from it there is room for the label."""
    width, height = size

    def place(left: float, low: float, anchor: tuple[float, float], moved: bool = True) -> Place:
        corner = centre + np.array([left, low])
        return Place(np.concatenate([corner, corner + size]), anchor, moved)

    yield place(away, -0.5 * height, (0, 0.5), False)
    yield place(-away - width, -0.5 * height, (1, 0.5), False)
    yield place(-0.5 * width, away - 0.75 * gap, (0.5, 0), False)
    yield place(-0.5 * width, -away + 0.75 * gap - height, (0.5, 1), False)
    for shift in (sign * number * height for number in range(1, most + 1) for sign in (1, -1)):
        yield place(away + gap, shift - 0.5 * height, (0, 0.5))
        yield place(-away - gap - width, shift - 0.5 * height, (1, 0.5))
        yield place(-0.5 * width, shift + gap if shift > 0 else shift - gap - height, (0.5, 0 if shift > 0 else 1))


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of ``boxes`` ``(n, 4)`` overlap which of ``others`` ``(m, 4)``, bool ``(n, m)``."""
    low, high = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    overlap: np.ndarray = np.all(low < high, axis=2)
    return overlap


def _crosses(starts: np.ndarray, ends: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which lines, from ``starts`` ``(n, 2)`` to ``ends``, meet which of ``boxes`` ``(m, 4)``, bool ``(n, m)``.

    A line is within a box from its last entry to its first exit on either axis (Liang and Barsky, 1984).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = [(boxes[:, side] - starts[:, None]) / (ends - starts)[:, None] for side in (slice(0, 2), slice(2, 4))]
    enters, leaves = np.fmin(*reached).max(axis=2), np.fmax(*reached).min(axis=2)
    crosses: np.ndarray = np.maximum(enters, 0) < np.minimum(leaves, 1)
    return crosses
