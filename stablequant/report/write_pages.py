"""HTML pages with one sortable table each. The report embeds them, and they need no other files."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from stablequant.recognisers.registry import family_of
from stablequant.report.captions import with_interval
from stablequant.report.compare import read_comparison
from stablequant.report.compare_hypotheses import TEXT
from stablequant.search.select_layers import most_sensitive
from stablequant.storage.files import read_json, read_table

STYLE = """
body { font: 15px/1.45 sans-serif; margin: 1.5em; color: #1b1b1b; background: #fff; }
p { max-width: 60em; }
table { border-collapse: collapse; }
th, td { padding: 0.2em 0.7em; border-bottom: 1px solid #ccc; text-align: left; }
th { position: sticky; top: 0; background: #e9eef5; cursor: pointer; white-space: nowrap; }
th:focus { outline: 2px solid #1f3b63; }
th[aria-sort=ascending]::after { content: " \\25B2"; }
th[aria-sort=descending]::after { content: " \\25BC"; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""
SORT = """
for (const head of document.querySelectorAll("th")) {
  const sort = () => {
    const body = head.closest("table").tBodies[0], place = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    const value = row => row.cells[place].dataset.value;
    const compare = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
      : (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b) * (up ? 1 : -1);
    [...body.rows].sort((a, b) => compare(value(a), value(b))).forEach(row => body.append(row));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  head.tabIndex = 0;
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""


def page(title: str, text: str, table: pd.DataFrame) -> str:
    """A complete HTML document with ``title``, ``text`` and ``table``. A click on a header sorts the table."""
    heads = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    rows = "\n".join(
        f"<tr>{''.join(map(_cell, table.columns, row))}</tr>" for row in table.itertuples(index=False, name=None)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n<p>{html.escape(text)}</p>\n"
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n<script>{SORT}</script>"
        "</body></html>\n"
    )


def _cell(column: str, value: str | float | None) -> str:
    if pd.isna(value):
        return '<td data-value=""></td>'
    if isinstance(value, float):
        return f'<td class="number" data-value="{value!r}">{_number(column, value)}</td>'
    text = html.escape(str(value))
    kind = ' class="number"' if isinstance(value, int) and not isinstance(value, bool) else ""
    return f'<td{kind} data-value="{text}">{text}</td>'


def _number(column: str, value: float) -> str:
    """``value`` as text: whole numbers and percentiles are exact.

    Other numbers have three decimals if they are at least 1, and four digits if they are smaller.
    """
    if value.is_integer():
        return f"{value:.0f}"
    if column == "percentile":  # 99.999 must not become 100
        return repr(value)
    return f"{value:.3f}" if abs(value) >= 1 else f"{value:.4g}"


def _data(files: list[Path]) -> tuple[str, pd.DataFrame]:
    checkpoint, *tables = files
    rate = family_of(checkpoint).sample_rate(checkpoint)
    rows = []
    for file in tables:
        table = read_table(file, ("utterance", "transcript")).fillna({"transcript": ""})
        words = table["transcript"].str.count(r"\S+")
        lengths = table["samples"] / rate
        rows.append([file.stem, len(table), lengths.sum(), int(words.sum()), lengths.min(), lengths.max()])
    columns = ["split", "utterances", "seconds", "words", "shortest, s", "longest, s"]
    table = pd.DataFrame(rows, columns=columns)
    heard = "; ".join(f"{split}: {count} utterances, {seconds:.0f} s" for split, count, seconds, *_ in rows)
    return f"Audio that could be used, {heard}. The calibration split decides; the evaluation split only judges.", table


def _sensitivity(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_table(files[0])
    selected = table[table["selected"]]
    worst = most_sensitive(table, 1).iloc[0]
    text = (
        f"Each of {len(table)} layers quantized alone. Searched because they lose too much: {len(selected)}; "
        f"{worst['layer']} loses most, {with_interval(worst)} points of WER."
    )
    return text, table


def _percentiles(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_table(files[0])
    best = ", ".join(f"{row.layer} {row.percentile:g} %" for row in table[table["best"]].itertuples())
    return f"Every cut-off tried for each searched layer. Best: {best or 'no layer was searched'}.", table


def _combination(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_table(files[0])
    if table.empty:
        return "The layers were measured one by one, not together.", table
    whole = table[table["step"] != "searched together"]  # that step recognises only a part of the calibration set
    final = (whole[whole["kept"]] if whole["kept"].any() else whole).iloc[-1]
    return (
        f"The calibration set with all layers quantized. Together they lose {with_interval(final)} points of WER.",
        table,
    )


def _scales(files: list[Path]) -> tuple[str, pd.DataFrame]:
    content = read_json(files[0])
    table = pd.DataFrame.from_dict(content["activations"], orient="index").rename_axis("activation").reset_index()
    table["carried"] = table["carried"].map(len)  # channels
    floating = ", ".join(content["float_layers"]) or "none"
    return f"Ranges and scales of {len(table)} activations. Layers left in floating point: {floating}.", table


def _precision(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_table(files[0])
    text = f"{int(table['fell_back'].sum())} of {len(table)} layers fell back from INT8 on this machine."
    return text, table


def _comparison(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_comparison(files[0])
    parts = [
        f"{row['method']} ({row['backend']}) loses {with_interval(row)} points"
        for _, row in table[table["degradation"].notna() & (table["method"] != "fp32")].iterrows()
    ]
    return f"Engines on the evaluation split. {'; '.join(parts) or 'None could be compared with fp32 here'}.", table


def _hypotheses(files: list[Path]) -> tuple[str, pd.DataFrame]:
    table = read_table(files[0], TEXT).fillna("")
    return f"{len(table)} hypotheses differ from those of fp32; [old -> new] marks the words.", table


PAGES: Mapping[str, tuple[str, Callable[[list[Path]], tuple[str, pd.DataFrame]]]] = {
    "data": ("Data", _data),
    "sensitivity": ("Sensitivity", _sensitivity),
    "percentiles": ("Percentiles", _percentiles),
    "combination": ("All layers together", _combination),
    "scales": ("Scales", _scales),
    "precision": ("Precision by layer", _precision),
    "comparison": ("Comparison", _comparison),
    "hypotheses": ("Changed hypotheses", _hypotheses),
}


def summary(name: str, files: list[Path]) -> str:
    """The text of the page ``name`` in `PAGES`, from the tables ``files``."""
    return PAGES[name][1](files)[0]


def write_page(name: str, model: str, files: list[Path]) -> str:
    """The page ``name`` in `PAGES` for one ``model``, from the tables ``files``."""
    title, read = PAGES[name]
    return page(f"{title}: {model}", *read(files))
