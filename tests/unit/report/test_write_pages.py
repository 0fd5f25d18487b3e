"""Tables as the report shows them."""

import html
import re
from dataclasses import replace

import pandas as pd
from distributions import binned, noise

from stablequant.quantization.int8 import Carried
from stablequant.report.compare_hypotheses import COLUMNS
from stablequant.report.write_pages import page, summary, write_page
from stablequant.search.optimise_scales import COLUMNS as SCALES
from stablequant.search.optimise_scales import optimise_ranges
from stablequant.storage.files import write_json, write_table


def cells(document: str) -> list[list[str]]:
    """What a page's table shows, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", document)[1:]
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_numbers_are_not_rounded_to_others():
    table = pd.DataFrame(
        {
            "percentile": [99.999, 100.0, 99.99999, None],
            "seconds": [19452.53, 52576.0, 1e12, float("inf")],
            "divergence": [0.000123456, -0.5, 8.70588, float("nan")],
            "count": [1, 2, 3, 4],
        }
    )
    assert cells(page("Numbers", "", table)) == [
        ["99.999", "19452.530", "0.0001235", "1"],
        ["100", "52576", "-0.5", "2"],
        ["99.99999", "1000000000000", "8.706", "3"],
        ["", "inf", "", "4"],
    ]


def test_identifiers_that_look_like_numbers_stay_as_they_are(tmp_path):
    row = dict.fromkeys(COLUMNS, 1) | {"utterance": "0001", "transcript": "007", "fp32": "1e3", "changes": "[+ 08]"}
    write_table(tmp_path / "hypotheses.tsv", pd.DataFrame([row, row | {"utterance": "0010"}], columns=COLUMNS))
    shown = cells(write_page("hypotheses", "m", [tmp_path / "hypotheses.tsv"]))
    assert shown[0] == ["1", "1", "0001", "007", "1", "1", "1e3", "[+ 08]"]
    assert shown[1][2] == "0010"


def test_what_strangers_wrote_is_shown_and_not_run():
    table = pd.DataFrame({"<script>": ['"><script>alert(1)</script>']})
    document = page("<b>", "<i>", table)
    assert cells(document) == [['"><script>alert(1)</script>']]
    assert document.count("<script>") == 1, "the page's own"
    assert "<b>" not in document and "<i>" not in document


def test_pages_say_what_was_only_screened_and_where_words_overruled_it(tmp_path):
    layers = pd.DataFrame({"layer": ["a", "b", "c"], "selected": [True, False, False], "sure": [True, True, None]})
    words = {"degradation": [0.5, 0.1, None], "ci_low": [0.4, 0.0, None], "ci_high": [0.6, 0.2, None]}
    screen = {"measured": ["recognised", "recognised", "screened"], "screen_divergence": [0.2, 0.3, 0.1]}
    write_table(tmp_path / "table.tsv", layers.assign(divergence=0.1, **words, **screen))
    told = summary("sensitivity", [tmp_path / "table.tsv"])
    assert told.startswith(
        "Each of 3 layers quantized alone. Searched because they lose too much: 1; a loses most, 0.50"
    )
    assert "lose clearly less than the threshold: 1. Words overruled the order of the screen for 1 of those" in told
    cutoffs = {"layer": "a", "percentile": [100.0, 99.9, 99.0], "best": [False, True, False], "stopped": False}
    write_table(tmp_path / "table.tsv", pd.DataFrame(cutoffs | screen))
    told = summary("percentiles", [tmp_path / "table.tsv"])
    assert told.endswith("Best: a 99.9 %. Only screened: 1 of 3. Words overruled the screen for 1 of 1 layers.")
    write_table(tmp_path / "table.tsv", pd.DataFrame(cutoffs | screen | {"screen_divergence": None}))
    assert summary("percentiles", [tmp_path / "table.tsv"]).endswith("Best: a 99.9 %.")


def test_the_page_of_scales_counts_the_carried_channels(tmp_path):
    histograms = {
        "fc1": binned(noise(1000), 0.1),
        "fc2": replace(binned(noise(1000), 0.1), carried=Carried((3, 5), 9.5)),
    }
    table = optimise_ranges(histograms, "max", 99.9, {})
    content = {"activations": table.set_index("activation").to_dict("index"), "float_layers": []}
    write_json(tmp_path / "scales.json", content)
    shown = cells(write_page("scales", "m", [tmp_path / "scales.json"]))
    places = [SCALES.index("carried"), SCALES.index("carried_amax")]
    assert [[row[place] for place in places] for row in shown] == [["0", "0"], ["2", "9.500"]]
