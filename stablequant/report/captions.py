"""Numbers as captions state them."""

from typing import Protocol

LAYERS_DRAWN = 6  # layers whose activations are drawn, at most


class Row(Protocol):
    """A row of a table, read by pandas or csv."""

    def __getitem__(self, column: str, /) -> str | float:
        """The cell in ``column``."""


def with_interval(row: Row, points: str = "degradation") -> str:
    """Percentage points of WER in one row of a table, with their 95 % interval: ``0.50 (0.10 to 0.90)``.

    ``points`` is the name of the column. The ends of the interval are in ``ci_low`` and ``ci_high`` for a degradation,
    otherwise in ``{points}_low`` and ``{points}_high``.
    """
    prefix = "ci" if points == "degradation" else points
    found, low, high = (round(float(row[column]), 2) + 0.0 for column in (points, f"{prefix}_low", f"{prefix}_high"))
    return f"{found:.2f} ({low:.2f} to {high:.2f})"  # adding 0.0 turns -0.00 into 0.00
