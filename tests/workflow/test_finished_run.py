"""What a finished run of the whole DAG holds."""

import re

from projects import TINY_CONFIG
from run_results import selected

from stablequant.report.verdict import sentence, verdict
from stablequant.storage.files import read_json, read_table
from stablequant.storage.onnx_graph import load_graph
from stablequant.workflow.provenance import processor


def test_the_run_is_complete(finished):
    results = finished / "results/tiny"
    rows = (results / "comparison.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in rows[1:]] == [["openvino", m] for m in TINY_CONFIG["methods"]]
    assert len(list((results / "sensitivity").iterdir())) == 8
    assert sorted(f.stem for f in (results / "percentiles").iterdir()) == sorted(selected(finished))
    assert selected(finished), "nothing selected: the tests below would prove nothing"
    assert len(list((results / "plots").glob("*.svg"))) == 7
    assert (results / "report.html").is_file()
    assert {"onnx", "quantization.json", "README.md"} <= {file.name for file in (results / "bundle").iterdir()}
    listed = read_table(results / "hypotheses.tsv")
    assert set(listed["method"]) <= {"max", "stablequant"}
    assert len(listed), "a random recogniser that hears the same after quantization"


def test_the_model_card_opens_with_the_verdict_and_names_what_the_graph_takes_and_gives(finished):
    bundle = finished / "results/tiny/bundle"
    record = read_json(bundle / "quantization.json")
    assert len(record["layers"]) == 8
    assert {row["layer"] for row in record["activations"].values()} == {row["layer"] for row in record["layers"]}
    graph = load_graph(bundle / "onnx/model_quantized.onnx").graph
    card = (bundle / "README.md").read_text()
    found = verdict(finished / "results/tiny", acceptable=1.0)
    (first,) = found.engines
    assert card.split("## May it be deployed?\n\n")[1].startswith(f"**openvino: {first.sentence.partition(':')[0]}.**")
    assert sentence(first.summary) in card and all(sentence(line) in card for line in found.layers)
    assert "The bundle holds 5 recordings of the evaluation split" in card
    assert "The bundle holds 5 recordings" in (finished / "logs/tiny/write_bundle.log").read_text()
    assert all(f"`{value.name}`" in card for value in (*graph.inputs, *graph.outputs))
    judged = read_json(finished / "results/tiny/evaluation/openvino/stablequant.json")
    assert judged["machine"] == processor()
    assert f"Judged on {processor()}, with " in card


def test_stored_hidden_values_are_gone_when_the_searches_end(finished):
    assert (finished / "results/tiny/hidden_values.json").is_file()
    assert not (finished / "results/tiny/hidden_values").exists()
    assert "removed" in (finished / "logs/tiny/gather_percentiles.log").read_text()


def test_every_degradation_has_an_interval_and_doubt_is_flagged(finished):
    for name in ("sensitivity.tsv", "percentiles.tsv", "comparison.tsv"):
        table = read_table(finished / "results/tiny" / name)
        assert ((table["ci_low"] <= table["degradation"]) & (table["degradation"] <= table["ci_high"])).all(), name
    table = read_table(finished / "results/tiny/sensitivity.tsv")
    log = (finished / "logs/tiny/select_layers.log").read_text()
    named = re.findall(r"the threshold lies within the interval of the degradation of: (.*)", log)
    assert named == [", ".join(table.loc[~table["sure"], "layer"])], "one line for all"
