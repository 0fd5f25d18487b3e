"""The report as a page, and its tables."""

import html
import re
from pathlib import Path

import pandas as pd
import pytest
from checkout import DEMO
from run_results import FP32, INT8, ROW, write_results

from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.report.compare import NOT_MEASURABLE
from stablequant.report.counted import LETTERS
from stablequant.report.sections import combination, engines, percentiles, precision, sensitivity
from stablequant.report.verdict import FinishedRun, verdict
from stablequant.report.write_report import _facts, report, table_html
from stablequant.storage.files import write_json, write_table

LOSS = {
    "measured": "recognised",
    "wer": 4.0,
    "degradation": 0.5,
    "ci_low": 0.1,
    "ci_high": 0.9,
    "divergence": 0.01,
    "utterances": 2,
}
CHANGED = {
    "backend": "openvino",
    "transcript": "A B",
    "fp32_errors": 0,
    "errors": 1,
    "fp32": "A B",
    "changes": "A [B -> D]",
}
OURS = CHANGED | {"method": "stablequant"}


def steps_of(rows: list[tuple[str, str, bool, float]]) -> pd.DataFrame:
    """A table of steps: what was tried, the layers, whether that was kept, and the points lost."""
    return pd.DataFrame(
        [
            LOSS | {"step": step, "layers": layers, "percentile": None, "kept": kept, "degradation": lost}
            for step, layers, kept, lost in rows
        ]
    )


def test_the_loss_of_all_layers_is_that_on_all_audio(tmp_path):
    """Also where nothing mends it, and what was tried last was not taken."""
    rows = [
        ("all layers", "all", True, 0.4),
        ("without", "cnn01", False, 0.1),
        ("searched again", "cnn01", False, -0.6),
        ("all layers", "all", False, 0.5),
    ]
    steps = steps_of(rows)
    write_table(tmp_path / "combination.tsv", steps)
    write_json(tmp_path / "scales/stablequant.json", {"float_layers": []})
    lost = "Together they lose 0.40 (0.10 to 0.90) points"
    assert f"at once, on the calibration split. {lost}" in combination(tmp_path).text
    earlier = steps[:2].assign(kept=False)  # as versions before this one wrote it
    write_table(tmp_path / "combination.tsv", earlier)
    assert lost in combination(tmp_path).text


def test_layers_in_floating_point_are_named_where_all_layers_are_told_of(tmp_path):
    rows = [("all layers", "all", False, 2.0), ("left in floating point", "head", True, 0.2)]
    write_table(tmp_path / "combination.tsv", steps_of(rows))
    write_json(tmp_path / "scales/stablequant.json", {"float_layers": ["head"]})
    found = combination(tmp_path)
    assert "on the calibration split, with head left in floating point. Together they lose 0.20 (" in found.text
    assert found.table["what was tried"].tolist() == ["everything that is to be INT8", "left in floating point"]


def cells(document: str) -> list[list[str]]:
    """What a table shows, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", document)[1:]
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A whole run of two engines, one of which could not run."""
    folder = tmp_path_factory.mktemp("results")
    import_checkpoint(str(DEMO), folder / "checkpoint")
    idle = ROW | {"backend": "tensorrt-rtx", "method": "stablequant", "status": "built, not run: no supported GPU"}
    write_results(folder, FP32, INT8 | {"method": "max", "degradation": 9.0}, INT8, idle)
    layers = [{"layer": "cnn01", "selected": True, "sure": True}, {"layer": "head", "selected": False, "sure": True}]
    write_table(folder / "sensitivity.tsv", pd.DataFrame([row | LOSS for row in layers]))
    step = {"step": "all layers", "layers": "all", "percentile": None, "kept": True}
    write_table(folder / "combination.tsv", pd.DataFrame([step | LOSS]))
    precision = {"backend": "openvino", "method": "max", "requested": "int8", "runs": "int8", "fell_back": False}
    write_table(folder / "precision.tsv", pd.DataFrame([precision | {"layer": "cnn01"}, precision | {"layer": "head"}]))
    changed = [CHANGED | {"method": "max", "utterance": f"{number:04}"} for number in range(60)]
    changed += [OURS | {"utterance": "0001", "errors": 0}, OURS | {"utterance": "007", "errors": 2}]
    write_table(folder / "hypotheses.tsv", pd.DataFrame(changed))
    (folder / "utterances").mkdir()
    for split in ("calibration", "evaluation"):
        heard = pd.DataFrame([{"utterance": "1", "samples": 960000, "transcript": "A B", "speaker": "s"}])
        write_table(folder / f"utterances/{split}.tsv", heard)
    (folder / "plots").mkdir()
    for plot in ("comparison", "tradeoff", "sensitivity", "percentiles"):
        (folder / f"plots/{plot}.svg").write_text("<svg/>")
    return folder


def test_the_verdict_comes_first_then_three_pictures_then_sections(results):
    page = report({"demo": FinishedRun(results, "Speech is <synthesised>.", 1.0)})
    order = ["Speech is &lt;synthesised&gt;.", "openvino: safe to deploy", "3.40 → 3.50 %", "built, not run"]
    order += [
        "Layers searched",
        'alt="comparison"',
        'alt="tradeoff"',
        'alt="sensitivity"',
        ">All engines</h2>",
        ">Changed words</h2>",
    ]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert 'class="verdict safe"' in page and 'class="verdict unknown"' in page
    assert 'class="verdict unsafe"' in report({"demo": FinishedRun(results, "", 0.2)})
    ours = "StableQuant's extended procedure, in how weights and channels are prepared"
    assert f"They differ in scales and, for {ours}." in html.unescape(page)
    assert "engines of one backend took turns" in page and "Several backends were timed one after the other." in page


@pytest.mark.parametrize(
    ("known", "shown"), [(2.14, "2.14 (2.04 to 2.24)"), (NOT_MEASURABLE, "not measurable (within")]
)
def test_the_verdict_tells_the_speed_at_new_lengths_beside_that_at_known_ones(tmp_path, known, shown):
    write_results(tmp_path, FP32, INT8 | {"speedup": known, "new_speedup": 0.46})
    write_table(tmp_path / "sensitivity.tsv", pd.DataFrame([LOSS | {"layer": "cnn01", "selected": True}]))
    (engine,) = verdict(tmp_path, 1.0).engines
    facts = {name: re.sub("<[^>]*>", "", text) for name, text in _facts(engine, tmp_path).items()}
    assert facts["times as fast as fp32"].startswith(shown)
    assert facts["at new lengths of audio"] == "0.46 slower"


def test_changed_words_of_stablequant_come_first_the_worst_on_top(results):
    page = report({"demo": FinishedRun(results, "", 1.0)})
    rows = cells(page[page.index(">Changed words</h2>") : page.index(">Each layer alone</h2>")])
    assert [row[1:3] for row in rows[:3]] == [["stablequant", "007"], ["stablequant", "0001"], ["max", "0000"]]
    assert len(rows) == 2 + 50 and "hypotheses.tsv has all" in page


def test_the_report_says_what_was_only_screened_and_where_words_overruled_it(tmp_path):
    layers = pd.DataFrame({"layer": ["a", "b", "c"], "selected": [True, False, False], "sure": [True, True, None]})
    words = {"degradation": [0.5, 0.1, None], "ci_low": [0.4, 0.0, None], "ci_high": [0.6, 0.2, None]}
    screen = {"measured": ["recognised", "recognised", "screened"], "screen_divergence": [0.2, 0.3, 0.1]}
    write_table(tmp_path / "sensitivity.tsv", layers.assign(divergence=0.1, **words, **screen))
    text = sensitivity(tmp_path).text
    assert "a loses most: 0.50" in text and "1 were only screened" in text
    assert text.endswith("Words overruled the order of the screen for 1 of those that are searched.")
    cutoffs = {"layer": "a", "percentile": [100.0, 99.9, 99.0], "best": [False, True, False], "stopped": False}
    write_table(tmp_path / "percentiles.tsv", pd.DataFrame(cutoffs | screen))
    text = percentiles(tmp_path).text
    assert text.endswith("1 of 3 were only screened. Words overruled the screen for 1 of 1 layers.")
    write_table(tmp_path / "percentiles.tsv", pd.DataFrame(cutoffs | screen | {"measured": "recognised"}))
    assert "screen" not in percentiles(tmp_path).text


def test_the_report_counts_the_engines_that_ran(tmp_path):
    idle = {"backend": "tensorrt-rtx", "status": "built, not run: no supported GPU"}
    write_table(tmp_path / "comparison.tsv", pd.DataFrame([FP32, INT8, FP32 | idle]))
    text = engines(tmp_path).text
    assert text.startswith("3 engines were built, 2 of them recognised the evaluation split.")
    assert text.endswith(" Only the size is known of 1, which could not run.")
    write_table(tmp_path / "comparison.tsv", pd.DataFrame([FP32 | idle, INT8 | idle]))
    assert engines(tmp_path).text == (
        "2 engines were built, 0 of them recognised the evaluation split. Only the size is known of 2, which could not "
        "run."
    )


ALL_INT8 = "every layer that was asked for in INT8 runs in INT8 on the machine that built the engine."


@pytest.mark.parametrize(
    ("rows", "text", "runs"),
    [
        (
            [("openvino", "max", "a", "int8"), ("tensorrt-rtx", "max", "a", None)],
            f"In openvino {ALL_INT8} What tensorrt-rtx computes in is not known.",
            ["int8", "not known"],
        ),
        ([("tensorrt", "max", "a", None)], "What tensorrt computes in is not known.", ["not known"]),
        (
            [("openvino", "max", "a", "int8"), ("onnxruntime", "max", "a", "int8")],
            f"In openvino and onnxruntime {ALL_INT8}",
            ["int8", "int8"],
        ),
        (
            [("openvino", "max", "a", "int8"), ("openvino", "max", "b", None)],
            f"In openvino {ALL_INT8}".replace("in INT8 runs", "in INT8 and whose precision is known runs"),
            ["int8"],
        ),
        (
            [("openvino", method, *found) for method in ("max", "mse") for found in (("a", "float32"), ("b", "int8"))],
            "INT8 was asked for but is not used by 1 of 2 layers, in at least one engine.",
            ["float32, int8", "float32, int8"],
        ),
    ],
)
def test_only_known_precisions_are_told(tmp_path, rows, text, runs):
    table = pd.DataFrame(rows, columns=["backend", "method", "layer", "runs"])
    table = table.assign(requested="int8", fell_back=table["runs"].eq("float32"))
    write_table(tmp_path / "precision.tsv", table)
    found = precision(tmp_path)
    assert found.text == text
    assert found.table["they run in"].tolist() == runs


def test_without_a_search_its_sections_are_left_out(results, tmp_path):
    for name in ("checkpoint", "utterances", "hypotheses.tsv", "precision.tsv", "plots"):
        (tmp_path / name).symlink_to(results / name)
    write_table(tmp_path / "comparison.tsv", pd.DataFrame([FP32, INT8 | {"method": "max"}]))
    page = report({"demo": FinishedRun(tmp_path, "", 1.0)})
    assert "so there is no verdict" in page and "Each layer alone" not in page and ">All engines</h2>" in page
    assert "They differ in scales." in page


def test_the_report_says_where_letters_are_counted(results, monkeypatch):
    assert LETTERS not in report({"demo": FinishedRun(results, "", 1.0)})
    monkeypatch.setattr(FrontEnd, "splits_letters", True)
    assert report({"demo": FinishedRun(results, "", 1.0)}).count(LETTERS) == 1


def test_plots_of_earlier_runs_are_not_shown(results):
    (results / "plots/peers.svg").write_text("<svg/>")
    shown = report({"demo": FinishedRun(results, "", 1.0, ["comparison", "tradeoff", "peers"])})
    assert re.findall(r'alt="(\w+)"', shown) == ["comparison", "tradeoff", "peers"]
    without = report({"demo": FinishedRun(results, "", 1.0, ["comparison"])})
    assert re.findall(r'alt="(\w+)"', without) == ["comparison"]


def test_numbers_are_rounded_but_not_to_others():
    table = pd.DataFrame(
        {
            "kept, %": [99.999, 100.0, 99.99999, None],
            "points lost": [19.4525, -0.001, 1e3, float("nan")],
            "scale": [0.000123456, -0.5, 8.70588, 2.0],
            "count": [1, 2, 3, 4],
        }
    )
    assert cells(table_html(table)) == [
        ["99.999", "19.45", "0.0001235", "1"],
        ["100", "0.00", "-0.5", "2"],
        ["99.99999", "1000.00", "8.706", "3"],
        ["", "", "2", "4"],
    ]


def test_what_strangers_wrote_is_shown_and_not_run():
    document = table_html(pd.DataFrame({"<script>": ['"><script>alert(1)</script>']}))
    assert cells(document) == [['"><script>alert(1)</script>']]
    assert "<script>" not in document
