"""What a search in bfloat16 chooses otherwise: ``python benchmarks/paired.py --results DIR --paired DIR --out FILE``.

``results`` is the folder of a model after an exhaustive search without racing in float32, ``paired`` after the same
search with ``precision: paired``, which computes the reference and all that is compared with it in bfloat16. Both are
such as ``results/demo``.

``layers_otherwise`` counts the layers that only one of them selects, ``surely_otherwise`` those of them whose interval
in float32 does not hold the threshold. ``cutoffs_otherwise`` counts the layers searched by both for which they choose
another cut-off. What these lose is counted in float32: ``cutoffs_worse`` those that lose more words, by a paired
interval above 0, ``points_lost_mean`` the points of WER, and ``divergence_ratio`` the largest divergence of one over
that of float32's choice. ``reference_words`` are the word errors that bfloat16's reference has more than float32's.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from records import Record, best_of
from screening import CostedRecord, compared
from tables import OTHERS_KEPT, command_line, write_out

from stablequant.report.show import markdown_table
from stablequant.search.select_layers import select_layers

COLUMNS = [
    *("model", "layers", "selected", "layers_otherwise", "surely_otherwise", "searches", "cutoffs_otherwise"),
    *("cutoffs_worse", "points_lost_mean", "divergence_ratio", "reference_words", "words"),
]


def selection(record: Record) -> tuple[set[str], set[str]]:
    """The layers that a search selects, and those of which it is sure whether to select them."""
    table = select_layers(list(record.probes.values()), CONFIG["threshold"])
    selected, sure = (set(table.loc[table[column], "layer"]) for column in ("selected", "sure"))
    return selected, sure


def compare(float32: CostedRecord, paired: CostedRecord, seed: int) -> dict[str, object]:
    """One row."""
    if not np.array_equal(float32.samples, paired.samples):
        sys.exit(f"{paired.results}: it heard other audio than {float32.results}; run it with the same splits and seed")
    (selected, sure), (found, _) = selection(float32), selection(paired)
    cutoffs, ratios = [], []
    for layer in sorted(float32.searches.keys() & paired.searches.keys()):
        tried = float32.searches[layer]
        own, other = (best_of(list(r.searches[layer].values()), r.ties).percentile for r in (float32, paired))
        cutoffs.append(compared(float32, layer, other, seed))
        ratios.append(sum(tried[other].outcome.divergences) / sum(tried[own].outcome.divergences))
    table = pd.DataFrame(cutoffs, columns=["otherwise", "points", "worse"])
    return {
        "model": float32.results.name,
        "layers": len(float32.probes),
        "selected": len(selected),
        "layers_otherwise": len(selected ^ found),
        "surely_otherwise": len((selected ^ found) & sure),
        "searches": len(table),
        "cutoffs_otherwise": int(table["otherwise"].sum()),
        "cutoffs_worse": int(table["worse"].sum()),
        "points_lost_mean": table["points"].mean(),
        "divergence_ratio": max(ratios, default=float("nan")),
        "reference_words": int((paired.reference.errors - float32.reference.errors).sum()),
        "words": int(float32.reference.words.sum()),
    }


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it."""
    rows = [
        [
            *(row.model, f"{row.selected} of {row.layers}", f"{row.layers_otherwise}, {row.surely_otherwise}"),
            f"{row.cutoffs_otherwise} of {row.searches}, {row.cutoffs_worse}",
            "" if np.isnan(row.points_lost_mean) else f"{row.points_lost_mean:.2f}",
            "" if np.isnan(row.divergence_ratio) else f"{row.divergence_ratio:.2f}",
            f"{row.reference_words:+d} of {row.words}",
        ]
        for row in table.itertuples()
    ]
    header = ["model", "layers selected", "otherwise, surely", "cut-offs otherwise, worse", "points lost"]
    return markdown_table([*header, "divergence, of float32's choice", "errors of the reference"], rows)


def main() -> None:
    parser = command_line(__doc__, markdown, out=OTHERS_KEPT)
    parser.add_argument("--results", type=Path, required=True, help="of the search in float32")
    parser.add_argument("--paired", type=Path, required=True, help="of the same search with precision: paired")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the intervals (0)")
    arguments = parser.parse_args()
    row = compare(CostedRecord(arguments.results), CostedRecord(arguments.paired), arguments.seed)
    table = pd.DataFrame([row], columns=COLUMNS)
    print(markdown(table))
    write_out(arguments.out, table, keep_others=True)


if __name__ == "__main__":
    main()
