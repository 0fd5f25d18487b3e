"""The report in a browser: every section, plot and table is there, tables sort, nothing is fetched."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, TINY_CONFIG, snakemake

from stablequant.report.captions import with_interval
from stablequant.search.select_layers import most_sensitive
from stablequant.storage.files import read_json, read_table

sys.path.insert(0, str(PROJECT / "docs"))
from screenshot import chromium

CHROMIUM = chromium()
ALONE = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=60000"),
]
SECTIONS = {  # and the files in each
    "Data": {"data.html"},
    "Sensitivity": {"sensitivity.svg", "sensitivity.html"},
    "Percentiles": {"percentiles.svg", "percentiles.html", "combination.html"},
    "Scales": {"histograms.svg", "scales.html"},
    "Engines": {"timeline.svg", "precision.html"},
    "Comparison": {"comparison.svg", "tradeoff.svg", "peers.svg", "comparison.html", "hypotheses.html"},
}
# Appended to a copy of the page: opens every result of every section, and leaves what it saw at the end of the page.
VISIT = """
<script>
(async () => {
  const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const named = text => [...document.querySelectorAll("a, span")].filter(e => e.textContent.trim() === text).pop();
  const seen = {};
  try {
    await pause(3000);
    for (const section of SECTIONS) {
      named(section).click();
      await pause(300);
      const rows = [...document.querySelectorAll("tr")].filter(row => row.querySelector("a[iconname=eye]"));
      seen[section] = [];
      for (let number = 0; number < rows.length; number++) {
        const row = [...document.querySelectorAll("tr")].filter(r => r.querySelector("a[iconname=eye]"))[number];
        row.querySelector("a[iconname=eye]").click();
        await pause(500);
        for (const e of document.querySelectorAll("img, iframe")) {
          const file = e.src.split(";")[2].replace("filename=", "");
          const text = e.tagName === "IFRAME" ? await (await fetch(e.src)).text() : "";
          const rows = text.split("<tr>").length - 2, fetches = /(src|href|url)[=(]/.test(text);
          if (file !== "logo.svg") seen[section].push([file, e.naturalWidth || e.clientWidth, rows, fetches]);
        }
      }
      named("Results").click();
      await pause(300);
    }
    seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !/^(data|blob|about):/.test(name));
  } catch (error) { seen.error = String(error); }
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = JSON.stringify(seen);
  document.body.append(found);
})();
</script>
"""
SORT = """
<script>
const head = [...document.querySelectorAll("th")].find(e => e.textContent === "degradation"), orders = [];
for (let click = 0; click < 2; click++) {
  head.click();
  orders.push([...document.querySelectorAll("tbody tr")].map(row => row.cells[head.cellIndex].dataset.value));
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
def report(finished) -> str:
    snakemake(finished, "--report", "report.html")
    return (finished / "report.html").read_text(encoding="utf-8")


def test_every_section_plot_and_table_is_there_and_nothing_is_fetched(finished, report, tmp_path):
    script = VISIT.replace("SECTIONS", json.dumps(list(SECTIONS)))
    seen = visit(report + script, tmp_path / "visit")
    assert "error" not in seen, seen
    assert seen["fetched"] == []
    for section, wanted in SECTIONS.items():
        assert sorted(file for file, *_ in seen[section]) == sorted(wanted), section
        assert all(width > 300 for _, width, *_ in seen[section]), seen[section]
    rows = {file: rows for section in SECTIONS for file, _, rows, _ in seen[section] if file.endswith(".html")}
    results = finished / "results/tiny"
    scales = read_json(results / "scales/stablequant.json")["activations"]
    tables = {file: results / f"{Path(file).stem}.tsv" for file in rows.keys() - {"data.html", "scales.html"}}
    assert rows == {"data.html": 2, "scales.html": len(scales)} | {f: len(read_table(t)) for f, t in tables.items()}
    assert not any(fetches for section in SECTIONS for *_, fetches in seen[section]), "a table fetches something"


def test_captions_state_the_runs_threshold_and_numbers(finished, report):
    found = [json.loads(text) for text in re.findall(r'"caption": ("(?:[^"\\]|\\.)*")', report)]
    texts = [html.unescape(text).replace("\n", " ") for text in found]
    assert len(texts) >= sum(map(len, SECTIONS.values()))

    def captions(told: str) -> int:
        return len([text for text in texts if told in text])

    results = finished / "results/tiny"
    engine = read_table(results / "comparison.tsv").set_index("method").loc["stablequant"]
    assert captions(f"stablequant (openvino) {with_interval(engine)}") == 2, "the comparison's and the trade-off's"
    probed = read_table(results / "sensitivity.tsv")
    selected = probed[probed["selected"]]
    assert len(selected) and all(captions(f"{row['layer']} {with_interval(row)}") for _, row in selected.iterrows())
    tried = read_table(results / "percentiles.tsv")
    best = tried[tried["best"]]
    assert all(captions(f"{row['layer']} {row['percentile']} %, {with_interval(row)}") for _, row in best.iterrows())
    peers = read_table(finished / "benchmarks/peers.tsv").query("model == 'tiny'")
    failed = "; ".join(f"{row.method} ({row.error})" for row in peers[peers["error"].notna()].itertuples()) or "none"
    assert captions(f"Without an engine: {failed}. Read from") == 1
    worst = most_sensitive(probed, 1).iloc[0]
    cut_off = read_json(results / "combination.json")["percentiles"].get(worst["layer"], 100.0)
    assert captions(f"channels equalised. Points of WER that these layers lose alone: {worst['layer']} ") == 1
    assert captions(f"{worst['layer']} {with_interval(worst)}, cut off at {cut_off} %") == 1
    together = read_table(results / "combination.tsv").query("kept").iloc[-1]
    assert captions(f"Together they lose {with_interval(together)} points of WER.") == 1
    assert captions(f"{len(read_table(results / 'hypotheses.tsv'))} hypotheses differ") == 1
    assert captions(f"Ranges and scales of {len(read_json(results / 'scales/stablequant.json')['activations'])}") == 1
    assert captions(f"Layers above {TINY_CONFIG['threshold']} points") == 2, "the plot's and the page's"
    assert captions(f"each of {len(TINY_CONFIG['percentiles'])} cut-off percentiles") == 1


def test_a_click_on_a_header_sorts_the_table(finished, tmp_path):
    page = (finished / "results/tiny/pages/sensitivity.html").read_text(encoding="utf-8")
    up, down = visit(page + SORT, tmp_path / "visit")
    assert len(up) > 5
    assert [float(value) for value in up] == sorted(float(value) for value in up)
    assert [float(value) for value in down] == sorted((float(value) for value in down), reverse=True)
