"""The results that the report's captions state.

The Snakefile imports this module while it is parsed, so nothing heavy is imported here. In every table the columns
``degradation``, ``ci_low`` and ``ci_high`` are in percentage points of WER. An empty cell means: not measured.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import Protocol, TypedDict


class Row(Protocol):
    """A row of a table, read by pandas or csv."""

    def __getitem__(self, column: str, /) -> str | float:
        """The cell in ``column``."""


class Cutoff(TypedDict):
    """What `layers_shown` needs of an activation in ``scales/stablequant.json``."""

    layer: str
    percentile: float


def with_interval(row: Row, points: str = "degradation") -> str:
    """Percentage points of WER in one row of a table, with their 95 % interval: ``0.50 (0.10 to 0.90)``.

    ``points`` is the name of the column. The ends of the interval are in ``ci_low`` and ``ci_high`` for a degradation,
    otherwise in ``{points}_low`` and ``{points}_high``.
    """
    prefix = "ci" if points == "degradation" else points
    found, low, high = (round(float(row[column]), 2) + 0.0 for column in (points, f"{prefix}_low", f"{prefix}_high"))
    return f"{found:.2f} ({low:.2f} to {high:.2f})"  # adding 0.0 turns -0.00 into 0.00


def describe_rows(table: Path, sentence: str, chosen: Callable[[dict[str, str]], object]) -> str:
    """``sentence`` filled in for each row of ``table`` for which ``chosen`` is true, joined by semicolons.

    In the sentence, ``{column}`` is replaced by the row's cell as the table has it. ``{lost}`` is replaced by the
    degradation, see `with_interval`, or by None if it was not measured.
    """
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(filter(chosen, csv.DictReader(lines, delimiter="\t")))
    return "; ".join(sentence.format(**row, lost=with_interval(row) if row["degradation"] else None) for row in rows)


def points_lost(comparison: Path) -> str:
    """The degradation of each engine in ``comparison.tsv``."""
    described = describe_rows(
        comparison, "{method} ({backend}) {lost}", lambda row: row["degradation"] and row["method"] != "fp32"
    )
    return described or "no engine could be compared with fp32"


def layers_selected(sensitivity: Path) -> str:
    """The degradation of each selected layer in ``sensitivity.tsv`` when only this layer is quantized."""
    return describe_rows(sensitivity, "{layer} {lost}", lambda row: row["selected"] == "True") or "none"


def cutoffs_chosen(percentiles: Path) -> str:
    """The best cut-off of each layer in ``percentiles.tsv``, and the layer's degradation with it."""
    described = describe_rows(percentiles, "{layer} {percentile} %, {lost}", lambda row: row["best"] == "True")
    return described or "no layer was searched"


def layers_shown(layers: Iterable[Row], activations: Mapping[str, Cutoff], equalised: bool) -> str:
    """The degradation of each layer when only this layer is quantized, and the layer's cut-off percentile.

    ``layers`` are rows of ``sensitivity.tsv``; the degradation of a layer that was only screened is unknown.
    ``activations`` are from ``scales/stablequant.json``; a layer that has none there gets no cut-off. ``equalised``
    says whether channels were equalised before.
    """
    cutoffs = {row["layer"]: f", cut off at {row['percentile']} %" for row in activations.values()}
    described = "; ".join(
        f"{row['layer']} {'unknown' if isnan(float(row['degradation'])) else with_interval(row)}"
        f"{cutoffs.get(str(row['layer']), '')}"
        for row in layers
    )
    state = "as they are quantized" + (", channels equalised" if equalised else "")
    return f"{state}. Points of WER that these layers lose alone: {described}"


def points_lost_by_peers(peers: Path, model: str) -> str:
    """The degradation of the engine of ``model`` by each other quantizer in ``peers.tsv``."""
    described = describe_rows(
        peers,
        "{method} {lost}",
        lambda row: row["model"] == model and row["degradation"] and row["method"] != "fp32",
    )
    return described or "no engine of another quantizer could be evaluated"


def failed_peers(peers: Path, model: str) -> str:
    """Quantizers in ``peers.tsv`` that could not make an engine of ``model``, with the errors."""
    return describe_rows(peers, "{method} ({error})", lambda row: row["model"] == model and row["error"]) or "none"
