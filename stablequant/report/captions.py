"""What the report's captions say of the numbers that a run found.

The Snakefile imports this module while it is parsed, so nothing heavy is imported here. In every table the columns
``degradation``, ``ci_low`` and ``ci_high`` hold points of WER; an empty cell was not measured.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def with_interval(row: Any, points: str = "degradation") -> str:
    """Points of WER in one row of a table, with their 95 % interval: ``0.50 (0.10 to 0.90)``.

    ``row`` was read by pandas or csv. ``points`` names the column; the interval's ends stand in ``{points}_low`` and
    ``{points}_high``, and those of a degradation in ``ci_low`` and ``ci_high``.
    """
    prefix = "ci" if points == "degradation" else points
    found, low, high = (round(float(row[column]), 2) + 0.0 for column in (points, f"{prefix}_low", f"{prefix}_high"))
    return f"{found:.2f} ({low:.2f} to {high:.2f})"  # adding 0.0 turns -0.00 into 0.00


def describe_rows(table: Path, sentence: str, chosen: Callable[[dict[str, str]], object]) -> str:
    """``sentence`` filled in for each row of ``table`` that is ``chosen``, joined by semicolons.

    ``{column}`` in the sentence is the row's cell as it is written in the table, ``{lost}`` the points of WER that it
    loses, see `with_interval`, or None where they were not measured.
    """
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(filter(chosen, csv.DictReader(lines, delimiter="\t")))
    return "; ".join(sentence.format(**row, lost=with_interval(row) if row["degradation"] else None) for row in rows)


def points_lost(comparison: Path) -> str:
    """What each engine of ``comparison.tsv`` loses against fp32."""
    described = describe_rows(
        comparison, "{method} ({backend}) {lost}", lambda row: row["degradation"] and row["method"] != "fp32"
    )
    return described or "no engine could be compared with fp32"


def layers_selected(sensitivity: Path) -> str:
    """What each selected layer of ``sensitivity.tsv`` loses when it alone is quantized."""
    return describe_rows(sensitivity, "{layer} {lost}", lambda row: row["selected"] == "True") or "none"


def cutoffs_chosen(percentiles: Path) -> str:
    """Each layer's best cut-off in ``percentiles.tsv``, and what the layer loses with it."""
    described = describe_rows(percentiles, "{layer} {percentile} %, {lost}", lambda row: row["best"] == "True")
    return described or "no layer was searched"


def layers_shown(layers: Iterable[Mapping[str, Any]], activations: Mapping[str, Mapping], equalised: bool) -> str:
    """What each of ``layers``, rows of ``sensitivity.tsv``, loses alone, and at which percentile the run clips it.

    ``activations`` are those of ``scales/stablequant.json``; of a layer that has none no cut-off is given.
    ``equalised`` says whether channels were equalised before.
    """
    cutoffs = {row["layer"]: f", cut off at {row['percentile']} %" for row in activations.values()}
    described = "; ".join(f"{row['layer']} {with_interval(row)}{cutoffs.get(row['layer'], '')}" for row in layers)
    state = "as they are quantized" + (", channels equalised" if equalised else "")
    return f"{state}. Points of WER that these layers lose alone: {described}"


def points_lost_by_peers(peers: Path, model: str) -> str:
    """What each other quantizer's engine of ``model`` in ``peers.tsv`` loses against fp32."""
    described = describe_rows(
        peers,
        "{method} {lost}",
        lambda row: row["model"] == model and row["degradation"] and row["method"] != "fp32",
    )
    return described or "no quantizer's engine could be judged"


def failed_peers(peers: Path, model: str) -> str:
    """Quantizers that made no engine of ``model``, according to ``peers.tsv``, and why."""
    return describe_rows(peers, "{method} ({error})", lambda row: row["model"] == model and row["error"]) or "none"
