"""How points of WER are told with their interval. The Snakefile's captions call it, so it imports nothing heavy."""

from typing import Any


def with_interval(row: Any) -> str:
    """Points of WER lost by one row of a table, read by pandas or csv, with the 95 % interval."""
    points, low, high = (float(row[column]) for column in ("degradation", "ci_low", "ci_high"))
    return f"{points:.2f} ({low:.2f} to {high:.2f})"
