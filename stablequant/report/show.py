"""Print a comparison for people: ``python -m stablequant.report.show results/demo/comparison.tsv``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.report.captions import with_interval
from stablequant.report.compare import read_comparison
from stablequant.storage.files import read_table

DIGITS = {
    **{"wer": 2, "degradation": 2, "ci_low": 2, "ci_high": 2},
    **{"size_ratio": 3, "onnx_ratio": 3, "speedup": 2, "speedup_low": 2, "speedup_high": 2, "new_speedup": 2},
    **{"float_layers": 0},
}
BRIEF = {"fp32": "fp32", "max": "INT8, `max`", "stablequant": "INT8, StableQuant"}
INTERVALS = {"degradation": ("ci_low", "ci_high"), "speedup": ("speedup_low", "speedup_high")}
SHOWN = ["backend", "method", *DIGITS, "arithmetic", "status"]


def rounded(path: Path) -> pd.DataFrame:
    """Main columns of the comparison in ``path`` as text, rounded. An empty cell means: not measured.

    WER is in percent, degradation and its interval are in percentage points.
    """
    table = read_comparison(path)
    table = table[[column for column in SHOWN if column in table]].astype(object).fillna({"arithmetic": ""})
    for column in table.columns.intersection(list(DIGITS)):
        table[column] = [_text(value, DIGITS[column]) for value in table[column]]
    return table


def _text(value: float | str, digits: int) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.{digits}f}" if pd.notna(value) else ""


def drawn_in(path: Path) -> str:
    """What the bootstrap of the intervals in ``path`` drew: ``speakers`` or ``utterances``."""
    drawn = read_table(path).get("ci_over")
    return "speakers" if drawn is not None and "speakers" in set(drawn) else "utterances"


def show(path: Path) -> str:
    """The comparison in ``path`` as plain text."""
    return rounded(path).to_string(index=False)


def markdown(path: Path) -> str:
    """The comparison in ``path`` as a Markdown table that fits a page.

    Intervals stand beside their values, and why an engine was not evaluated in place of its loss.
    """
    table = rounded(path)
    for column, (low, high) in INTERVALS.items():
        if {low, high} <= set(table.columns):
            ends = zip(table[column], table.pop(low), table.pop(high), strict=True)
            table[column] = [f"{value} ({least} to {most})" if least else value for value, least, most in ends]
    status = table.pop("status")
    table["degradation"] = table["degradation"].where(status == EVALUATED, status)
    return markdown_table(list(table.columns), table.to_numpy().tolist())


def brief(path: Path) -> str:
    """The rows fp32, max and stablequant of the comparison in ``path`` that were evaluated, as a Markdown table.

    The engine is named only if several were evaluated.
    """
    table = read_table(path)
    shown = table[table["wer"].notna() & table["method"].isin(BRIEF)]
    several, rows = len(set(shown["backend"])) > 1, []
    for row in shown.to_dict("records"):
        name = f"{BRIEF[row['method']]} ({row['backend']})" if several else BRIEF[row["method"]]
        lost = "0" if row["method"] == "fp32" else with_interval(row) if pd.notna(row["degradation"]) else ""
        rows.append(
            [name, f"{row['wer']:.2f} %", lost, f"{row['size_ratio']:.2f}" if pd.notna(row["size_ratio"]) else ""]
        )
    return markdown_table(["network", "WER", "points of WER lost (95 % interval)", "size"], rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of text."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="a Markdown table, as in docs/")
    parser.add_argument("--brief", action="store_true", help="three rows in Markdown: fp32, max and stablequant")
    parser.add_argument("table", type=Path, help="a comparison.tsv")
    arguments = parser.parse_args()
    form = brief if arguments.brief else markdown if arguments.markdown else show
    print(form(arguments.table))
