"""The report in a browser: every plot and table is there, tables sort, nothing is fetched."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PROJECT
from running import snakemake

from stablequant.report.captions import with_interval
from stablequant.report.verdict import sentence, verdict
from stablequant.search.select_layers import most_sensitive
from stablequant.storage.files import read_json, read_table

sys.path.insert(0, str(PROJECT / "docs"))
from screenshot import chromium

CHROMIUM = chromium()
ALONE = [
    *(
        "--headless",
        "--window-size=1400,1000",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=60000"),
]
PLOTS = {"comparison", "tradeoff", "sensitivity", "peers", "percentiles", "histograms", "timeline"}
# Appended to a copy of the page: leaves what it saw at the end of the page.
LOOK = """
<script>
addEventListener("load", () => {
  const all = chosen => [...document.querySelectorAll(chosen)];
  const seen = {
    plots: Object.fromEntries(all("img").map(image => [image.alt, image.naturalWidth])),
    rows: all("section").filter(part => part.querySelector("table"))
      .map(part => [part.querySelector("h2").textContent, part.querySelectorAll("tbody tr").length]),
    overflows: document.documentElement.scrollWidth > innerWidth
      || all(".table").some(part => part.scrollWidth > part.clientWidth),
    fetched: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !/^data:/.test(name)),
  };
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = JSON.stringify(seen);
  document.body.append(found);
});
</script>
"""
SORT = """
<script>
const table = [...document.querySelectorAll("section")].find(e => /^Each layer alone/.test(e.textContent));
const head = [...table.querySelectorAll("th")].find(e => e.textContent === "points lost"), orders = [];
for (let click = 0; click < 2; click++) {
  head.click();
  orders.push([...table.querySelectorAll("tbody tr")].map(row => row.cells[head.cellIndex].dataset.value));
}
const found = document.createElement("pre");
found.id = "found";
found.textContent = JSON.stringify(orders);
document.body.append(found);
</script>
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the report is looked at in Chromium, which is not installed")


def visit(page: str, folder: Path) -> object:
    """What a script that was appended to ``page`` found."""
    folder.mkdir()
    (folder / "page.html").write_text(page, encoding="utf-8")
    command = [CHROMIUM, *ALONE, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "page.html").as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    text = found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&quot;", '"').replace("&amp;", "&")
    return json.loads(text)


@pytest.fixture(scope="module")
def page(finished) -> str:
    return (finished / "results/tiny/report.html").read_text(encoding="utf-8")


def test_plots_and_tables_are_there_and_fit_and_nothing_is_fetched(finished, page, tmp_path):
    seen = visit(page + LOOK, tmp_path / "visit")
    assert seen["fetched"] == []
    assert not seen["overflows"], "wider than the page"
    assert seen["plots"].keys() == PLOTS and all(width > 300 for width in seen["plots"].values())
    results = finished / "results/tiny"
    scales = read_json(results / "scales/stablequant.json")["activations"]
    tables = ("comparison", "hypotheses", "sensitivity", "percentiles", "combination")
    wanted = {name: len(read_table(results / f"{name}.tsv")) for name in tables}
    assert dict(seen["rows"]) == {
        "All engines": wanted["comparison"],
        "Changed words": wanted["hypotheses"],
        "Each layer alone": wanted["sensitivity"],
        "Cut-offs of the searched layers": wanted["percentiles"],
        "All layers together": wanted["combination"],
        "Ranges and scales": len(scales),
        "What the engines compute in": wanted["comparison"],
        "Audio": 2,
    }


def test_the_page_states_the_runs_numbers(finished, page):
    results, text = finished / "results/tiny", html.unescape(page)
    found = verdict(results, acceptable=1.0)
    assert all(sentence(line) in text for line in found.layers)
    (engine,) = found.engines
    assert f"openvino: {engine.sentence.partition(':')[0]}" in text
    assert f"{engine.fp32['wer']:.2f} → {engine.row['wer']:.2f} %" in text
    worst = most_sensitive(read_table(results / "sensitivity.tsv"), 1).iloc[0]
    assert f"{worst['layer']} loses most: {with_interval(worst)} points" in text
    together = (
        read_table(results / "combination.tsv").query("step in ('all layers', 'left in floating point')").iloc[-1]
    )
    assert f"Together they lose {with_interval(together)} points of WER." in text


def test_the_command_writes_the_same_page_and_snakemakes_report_holds_it(finished, page, tmp_path):
    command = [sys.executable, "-m", "stablequant", "report", str(finished), "--html", str(tmp_path / "page.html")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert "layers searched: " in done.stdout
    snakemake(finished, "--report", str(tmp_path / "snakemake.html"))
    assert "report.html" in (tmp_path / "snakemake.html").read_text(encoding="utf-8")


def test_a_click_on_a_header_sorts_the_table(page, tmp_path):
    up, down = visit(page + SORT, tmp_path / "visit")
    assert len(up) > 5
    assert [float(value) for value in up] == sorted(float(value) for value in up)
    assert [float(value) for value in down] == sorted((float(value) for value in down), reverse=True)
