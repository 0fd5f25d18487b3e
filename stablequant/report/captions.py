"""How points of WER are told with their interval. The Snakefile's captions call it, so it imports nothing heavy."""

from typing import Any


def with_interval(row: Any, points: str = "degradation") -> str:
    """Points of WER in one row of a table, read by pandas or csv, with their 95 % interval, in the columns beside."""
    prefix = "ci" if points == "degradation" else points
    found, low, high = (round(float(row[column]), 2) + 0.0 for column in (points, f"{prefix}_low", f"{prefix}_high"))
    return f"{found:.2f} ({low:.2f} to {high:.2f})"  # and never -0.00
