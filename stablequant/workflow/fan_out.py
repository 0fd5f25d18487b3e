"""Split the search into jobs by layer. The Snakefile imports this module while it is parsed."""

import csv
from collections.abc import Sequence
from pathlib import Path


def layers_of(table: Path) -> list[str]:
    """Names of the layers in ``layers.tsv``, in the order in which the audio passes through them."""
    with table.open(encoding="utf-8", newline="") as rows:
        return list(dict.fromkeys(row["layer"] for row in csv.DictReader(rows, delimiter="\t")))


def layers_with_outputs(table: Path) -> list[str]:
    """Names of the layers in ``layers.tsv`` that have outputs which may be quantized."""
    with table.open(encoding="utf-8", newline="") as rows:
        named = [row["layer"] for row in csv.DictReader(rows, delimiter="\t") if row.get("output_activation")]
    return list(dict.fromkeys(named))


def jobs_of_layers(layers: Sequence[str], size: int) -> dict[str, list[str]]:
    """Groups of ``size`` layers by job name: ``layer`` for one layer, ``first-last`` for several."""
    groups = [list(layers[start : start + size]) for start in range(0, len(layers), size)]
    return {"-".join(dict.fromkeys([group[0], group[-1]])): group for group in groups}


def selected_layers(sensitivity: Path) -> list[str]:
    """Names of the layers that are selected in ``sensitivity.tsv``."""
    with sensitivity.open(encoding="utf-8", newline="") as rows:
        return [row["layer"] for row in csv.DictReader(rows, delimiter="\t") if row["selected"] == "True"]
