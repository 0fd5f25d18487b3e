"""The report: one HTML page that opens with the verdict. It needs no other files and fetches nothing."""

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from stablequant.report.captions import with_interval
from stablequant.report.compare import NOT_MEASURABLE, read_comparison
from stablequant.report.counted import counted_instead
from stablequant.report.sections import DIGITS, Section, sections
from stablequant.report.verdict import METHOD, EngineVerdict, FinishedRun, Verdict, sentence, verdict
from stablequant.storage.files import read_json, read_table

SHORT = 34  # characters of text that stay on one line of a table
STYLE = """
:root { color-scheme: light dark; --ink: #263238; --pale: #607d8b; --page: #fff; --card: #f4f7f8; --line: #cfd8dc;
  --safe: #00796b; --unsafe: #b03a1e; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceff1; --pale: #a7bac3; --page: #1b2327; --card: #263238;
  --line: #455a64; --safe: #4db6ac; --unsafe: #ff8a65; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 1400px; color: var(--ink);
  background: var(--page); }
h1 { margin: 0; font-size: 1.9rem; } h2 { margin: 2.5rem 0 0.3rem; font-size: 1.3rem; }
p { max-width: 60rem; margin: 0.4rem 0; } .note, figcaption, dt { color: var(--pale); }
.verdict { margin: 1rem 0; padding: 1rem 1.3rem; border-left: 6px solid var(--unsafe); background: var(--card); }
.verdict h3 { margin: 0; font-size: 1.25rem; color: var(--unsafe); }
.verdict.unknown { border-color: var(--pale); } .verdict.unknown h3 { color: var(--pale); }
.verdict.safe { border-color: var(--safe); } .verdict.safe h3 { color: var(--safe); }
dl { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; margin: 0.8rem 0 0.2rem; }
dt { font-size: 0.85rem; } dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
dd small { font-size: 0.85rem; color: var(--pale); }
.pictures { columns: 34rem 2; column-gap: 1.2rem; margin: 1.2rem 0; }
figure { margin: 0.8rem 0; } .pictures figure { margin: 0 0 1rem; break-inside: avoid; }
figure img { display: block; width: 100%; max-width: 47rem; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { max-width: 47rem; font-size: 0.9rem; }
nav { margin: 1.5rem 0; } nav a { margin-right: 1.2rem; color: var(--safe); }
.table { max-height: 34rem; max-width: 100%; width: fit-content; overflow: auto;
  margin: 0.6rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: 0.88rem; }
th, td { padding: 0.25rem 0.55rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: var(--card); cursor: pointer; white-space: nowrap; }
th:focus { outline: 2px solid var(--safe); }
th[aria-sort=ascending]::after { content: " \\25B2"; }
th[aria-sort=descending]::after { content: " \\25BC"; }
td { overflow-wrap: anywhere; } td.short { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
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


def report(models: Mapping[str, FinishedRun]) -> str:
    """The report on finished runs, by the model's name, as an HTML document."""
    body = "\n".join(_model(name, run) for name, run in models.items())
    title = html.escape(", ".join(models))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{title}: StableQuant</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n<script>{SORT}</script></body></html>\n"
    )


def _model(name: str, run: FinishedRun) -> str:
    results, note = run.results, run.note
    table = read_comparison(results / "comparison.tsv")
    searched = METHOD in set(table["method"])
    parts = [f"<h1>{html.escape(name)} in INT8</h1>"]
    told = (note, counted_instead(results / "checkpoint"))
    parts += [f'<p class="note">{html.escape(text)}</p>' for text in told if text]
    if searched:
        parts += _verdict(verdict(results, run.acceptable), results)
    else:
        parts.append("<p>StableQuant was not among the methods of this run, so there is no verdict.</p>")
    pictures = "".join(_figure(run, plot, caption) for plot, caption in _captions(searched).items())
    parts.append(f'<div class="pictures">{pictures}</div>')
    found = sections(results, searched)
    places = {section.title: f"{name} {section.title}".replace(" ", "-") for section in found}
    links = "".join(f'<a href="#{html.escape(place)}">{title}</a>' for title, place in places.items())
    parts.append(f"<nav>{links}</nav>")
    parts += [_section(section, places[section.title], run) for section in found]
    return f"<main>{''.join(parts)}</main>"


def _captions(searched: bool) -> dict[str, str]:
    """The pictures that show why the verdict is so."""
    ours = " and, for StableQuant's extended procedure, in how weights and channels are prepared" if searched else ""
    captions = {
        "comparison": f"Every method quantizes the recogniser to INT8. They differ in scales{ours}.",
        "tradeoff": "A good engine lies low in both plots, far left in the first and far right in the second. For "
        "their speed the engines of one backend took turns on the same audio, at lengths that they had met before. "
        "Several backends were timed one after the other.",
    }
    if searched:
        captions["sensitivity"] = (
            "Each layer was quantized alone. Layers beyond the dashed line lose too many words, so StableQuant "
            "searched a cut-off for their outliers."
        )
    return captions


def _verdict(found: Verdict, results: Path) -> Iterable[str]:
    for engine in found.engines:
        kind = "safe" if engine.safe else "unsafe" if engine.measured else "unknown"
        heading, _, reason = engine.sentence.partition(": ")
        facts = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in _facts(engine, results).items())
        notes = "".join(f"<p>{html.escape(sentence(text))}</p>" for text in (reason, *engine.notes) if text)
        yield (
            f'<section class="verdict {kind}"><h3>{html.escape(str(engine.row["backend"]))}: '
            f"{html.escape(heading)}</h3>{notes}<dl>{facts}</dl></section>"
        )
    yield f"<p>{'<br>'.join(html.escape(sentence(text)) for text in found.layers)}</p>"


def _facts(engine: EngineVerdict, results: Path) -> dict[str, str]:
    """Numbers of one engine as HTML, by their names."""
    row, fp32, facts = engine.row, engine.fp32, {}
    if engine.measured and fp32 is not None:
        facts["word error rate, before and after"] = f"{fp32['wer']:.2f} → {row['wer']:.2f} %"
        lost, interval = with_interval(row).split(" ", 1)
        facts["points lost, 95 % interval"] = f"{lost} <small>{interval}</small>"
    facts["size"] = f"{row['size_bytes'] / 1e6:.1f} MB"
    if pd.notna(row["size_ratio"]):
        facts["size"] += f" <small>{row['size_ratio']:.2f} of fp32&rsquo;s</small>"
    places = {"speedup": "times as fast as fp32", "new_speedup": "at new lengths of audio"}
    for column, name in places.items():
        if row[column] == NOT_MEASURABLE:
            facts[name] = f"{NOT_MEASURABLE} <small>(within noise)</small>"
        elif pd.notna(row[column]):
            facts[name] = f"{row[column]:.2f}{' <small>slower</small>' if row[column] < 1 else ''}"
    if pd.notna(row["speedup_low"]) and row["speedup"] != NOT_MEASURABLE:
        facts[places["speedup"]] += f" <small>({row['speedup_low']:.2f} to {row['speedup_high']:.2f})</small>"
    if not engine.measured:
        return facts
    probed = read_table(results / "sensitivity.tsv")
    facts["layers searched"] = f"{int(probed['selected'].sum())} <small>of {len(probed)}</small>"
    kept = read_json(results / f"scales/{METHOD}.json")["float_layers"]
    facts["layers in INT8"] = f"{len(probed) - len(kept)} <small>of {len(probed)}</small>"
    return facts


def _section(section: Section, place: str, run: FinishedRun) -> str:
    figures = "".join(_figure(run, name, caption) for name, caption in section.plots.items())
    table = table_html(section.table) if len(section.table) else ""
    return (
        f'<section><h2 id="{html.escape(place)}">{html.escape(section.title)}</h2>\n'
        f"<p>{html.escape(section.text)}</p>\n{figures}{table}</section>\n"
    )


def _figure(run: FinishedRun, name: str, caption: str) -> str:
    """A plot within the page; nothing if the run has none of that name. (An image's identifiers stay its own.)"""
    file = run.results / f"plots/{name}.svg"
    if (run.plots is not None and name not in run.plots) or not file.is_file():
        return ""
    data = base64.b64encode(file.read_bytes()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{name}" src="data:image/svg+xml;base64,{data}"><figcaption>{text}</figcaption></figure>\n'
    )


def table_html(table: pd.DataFrame) -> str:
    """``table`` in HTML. A click on a header sorts it, by the numbers as they were before they were rounded."""
    numbers = {name for name in table if is_numeric_dtype(table[name]) and not is_bool_dtype(table[name])}
    heads = "".join(
        f"<th{' class=number' if name in numbers else ''}>{html.escape(str(name))}</th>" for name in table.columns
    )
    rows = "\n".join(
        f"<tr>{''.join(map(_cell, table.columns, row))}</tr>" for row in table.itertuples(index=False, name=None)
    )
    return f'<div class="table"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n'


def _cell(column: str, value: object) -> str:
    if value is None or value is pd.NA or value != value:  # NaN
        return '<td data-value=""></td>'
    if isinstance(value, bool):
        return f'<td data-value="{int(value)}">{"yes" if value else ""}</td>'
    if isinstance(value, float):
        return f'<td class="number" data-value="{value!r}">{_number(column, value)}</td>'
    text = html.escape(str(value))
    kind = ' class="number"' if isinstance(value, int) else ' class="short"' if len(text) <= SHORT else ""
    return f'<td{kind} data-value="{text}">{text}</td>'


def _number(column: str, value: float) -> str:
    """``value`` with the decimals in `DIGITS`, or with four digits. Percentiles are exact, and so are whole numbers."""
    digits = DIGITS.get(column, 4)
    if digits is None:
        return f"{value:.0f}" if value.is_integer() else repr(value)  # 99.999 must not become 100
    if column in DIGITS:
        return f"{round(value, digits) + 0.0:.{digits}f}"  # adding 0.0 turns -0.00 into 0.00
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
