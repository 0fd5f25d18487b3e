"""Jobs of the search by layer. Imported while the Snakefile is parsed."""

import csv
from collections.abc import Sequence
from pathlib import Path


def layers_of(table: Path) -> list[str]:
    """Names of the layers in ``layers.tsv``, in the order in which audio passes them."""
    with table.open(encoding="utf-8", newline="") as rows:
        return list(dict.fromkeys(row["layer"] for row in csv.DictReader(rows, delimiter="\t")))


def jobs_of_layers(layers: Sequence[str], size: int) -> dict[str, list[str]]:
    """``layers`` in groups of ``size``, by a name: that of the one layer, or those of the first and the last."""
    groups = [list(layers[start : start + size]) for start in range(0, len(layers), size)]
    return {"-".join(dict.fromkeys([group[0], group[-1]])): group for group in groups}


def selected_layers(sensitivity: Path) -> list[str]:
    """Layers that ``sensitivity.tsv`` selects for a search."""
    with sensitivity.open(encoding="utf-8", newline="") as rows:
        return [row["layer"] for row in csv.DictReader(rows, delimiter="\t") if row["selected"] == "True"]
