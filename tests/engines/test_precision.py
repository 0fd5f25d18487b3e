"""The precision of each layer, as the engine tells it and as the graph asks for it."""

from pathlib import Path

import pandas as pd
import pytest
from graphs import build, export, quantize_graph, ranges_of_noise

from stablequant.engines import onnxruntime, openvino, openvino_quantizers
from stablequant.engines.precision import FLOAT32, INT8, layers_not_in_int8, precision_table, warn_about_fallbacks
from stablequant.report.compare_precisions import summarise

FLOATING = {"cnn03", "transformer01"}


@pytest.fixture(scope="module")
def graph(tiny, tmp_path_factory) -> Path:
    """Of the tiny recogniser with two layers left in floating point."""
    folder = tmp_path_factory.mktemp("graph")
    chosen = [m for m in tiny.modules if m.layer not in FLOATING]
    ranges = ranges_of_noise(tiny, chosen)
    return quantize_graph(export(tiny, folder / "fp32.onnx"), chosen, ranges, {}, folder / "int8.onnx")


@pytest.fixture(scope="module")
def engine(tiny, graph) -> Path:
    return build(tiny, graph, graph.parent / "engine", float_layers=FLOATING)


def test_layers_left_in_floating_point_run_so_and_all_others_in_int8(tiny, engine, monkeypatch):
    monkeypatch.setattr(openvino, "int8_kernels_are_exact", lambda: True)
    for exact, fallen in ((True, []), (False, ["positional"])):
        monkeypatch.setattr(openvino_quantizers, "grouped_convolution_is_exact", lambda _shape, exact=exact: exact)
        runs = openvino.BACKEND.precisions(engine, {"floating": FLOAT32}, tiny.modules)
        floating = {*FLOATING, *fallen}
        assert runs == {m.module: FLOAT32 if m.layer in floating else INT8 for m in tiny.modules}
        assert layers_not_in_int8(precision_table(tiny.modules, FLOATING, runs)) == fallen


def test_what_silently_falls_back_is_named(tiny, engine, monkeypatch):
    monkeypatch.setattr(openvino, "int8_kernels_are_exact", lambda: False)
    runs = openvino.BACKEND.precisions(engine, {"floating": FLOAT32}, tiny.modules)
    assert set(runs.values()) == {FLOAT32}
    table = precision_table(tiny.modules, FLOATING, runs)
    layers = list(dict.fromkeys(m.layer for m in tiny.modules))
    assert layers_not_in_int8(table) == [layer for layer in layers if layer not in FLOATING]
    summary = summarise({("openvino", "stablequant"): table}).set_index("layer")
    assert summary.loc["cnn03", ["requested", "runs", "fell_back"]].tolist() == [FLOAT32, FLOAT32, False]
    assert summary.loc["head", ["requested", "runs", "fell_back"]].tolist() == [INT8, FLOAT32, True]


def test_a_fallback_is_a_warning_that_names_the_layers(tiny, caplog):
    runs = {m.module: FLOAT32 if m.layer == "head" else INT8 for m in tiny.modules}
    with caplog.at_level("WARNING"):
        warn_about_fallbacks(precision_table(tiny.modules, set(), dict.fromkeys(runs, INT8)), Path("engine"))
        assert not caplog.records
        warn_about_fallbacks(precision_table(tiny.modules, set(), runs), Path("engine"))
    (record,) = caplog.records
    assert record.getMessage() == "engine: 1 of 12 layers fell back from INT8: head"


def test_what_nobody_knows_stays_empty_and_is_no_fallback(tiny):
    table = precision_table(tiny.modules, set(), {})
    assert table["runs"].isna().all()
    assert layers_not_in_int8(table) == []
    summary = summarise({("tensorrt-rtx", "max"): table})
    assert len(summary) == table["layer"].nunique()
    assert pd.isna(summary["runs"]).all()


def test_several_precisions_in_one_layer_are_all_named(tiny):
    runs = {m.module: INT8 if "q_proj" in m.module else FLOAT32 for m in tiny.modules}
    summary = summarise({("openvino", "max"): precision_table(tiny.modules, set(), runs)}).set_index("layer")
    assert summary.loc["transformer01", "runs"] == "float32 int8"
    assert summary.loc["transformer01", "fell_back"]


def test_onnx_runtime_leaves_convolutions_in_floating_point_and_says_so(tiny, graph, tmp_path, monkeypatch):
    folder = build(tiny, graph, tmp_path / "engine", "onnxruntime", FLOATING)
    monkeypatch.setattr(onnxruntime, "int8_kernels_are_exact", lambda: True)
    runs = onnxruntime.BACKEND.precisions(folder, {}, tiny.modules)
    kinds = {m.module: m.kind for m in tiny.modules}
    assert runs["lm_head"] == INT8
    assert {runs[module] for module in runs if kinds[module] == "cnn"} == {FLOAT32}
    monkeypatch.setattr(onnxruntime, "int8_kernels_are_exact", lambda: False)
    assert set(onnxruntime.BACKEND.precisions(folder, {}, tiny.modules).values()) == {FLOAT32}
