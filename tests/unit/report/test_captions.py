"""What the report's captions say."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import PROJECT

from stablequant.report import captions
from stablequant.storage.files import write_table

ENGINES = ["backend", "method", "degradation", "ci_low", "ci_high"]
PROBES = ["layer", "degradation", "ci_low", "ci_high", "selected"]
SEARCHES = ["layer", "percentile", "degradation", "ci_low", "ci_high", "best"]
PEERS = ["model", "method", "degradation", "ci_low", "ci_high", "error"]


def written(tmp_path: Path, columns: list[str], rows: list[tuple]) -> Path:
    """A table as the workflow writes it; None becomes an empty cell."""
    write_table(tmp_path / "table.tsv", pd.DataFrame(rows, columns=columns))
    return tmp_path / "table.tsv"


@pytest.mark.parametrize(
    ("row", "points", "expected"),
    [
        ({"degradation": 0.5, "ci_low": 0.1, "ci_high": 0.9}, "degradation", "0.50 (0.10 to 0.90)"),
        ({"degradation": "0.126", "ci_low": "-1.5", "ci_high": "12.344"}, "degradation", "0.13 (-1.50 to 12.34)"),
        ({"degradation": -0.001, "ci_low": -0.004, "ci_high": 0.0}, "degradation", "0.00 (0.00 to 0.00)"),
        (
            {"degradation": 7, "ci_low": 7, "ci_high": 7, "behind": 1, "behind_low": 0.5, "behind_high": 1.5},
            "behind",
            "1.00 (0.50 to 1.50)",
        ),
    ],
)
def test_points_have_two_decimals_and_their_interval(row, points, expected):
    assert captions.with_interval(row, points) == expected
    assert captions.with_interval(pd.Series(row), points) == expected, "a row that pandas read"


def test_cells_are_quoted_as_they_are_written_in_the_table(tmp_path):
    table = written(
        tmp_path, SEARCHES, [("cnn01", 99.999, 0.25, 0, 0.5, True), ("cnn02", 100.0, None, None, None, True)]
    )
    described = captions.describe_rows(table, "{layer}: {percentile}, {lost}", lambda row: True)
    assert described == "cnn01: 99.999, 0.25 (0.00 to 0.50); cnn02: 100.0, None"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "no engine could be compared with fp32"),
        ([("openvino", "fp32", 0.0, 0.0, 0.0)], "no engine could be compared with fp32"),
        ([("tensorrt", "max", None, None, None)], "no engine could be compared with fp32"),
        (
            [
                ("openvino", "fp32", 0.0, 0.0, 0.0),
                ("openvino", "max", 12.346, 10.0, 15.0),
                ("tensorrt", "max", None, None, None),
                ("onnxruntime", "stablequant", 0.0, -0.5, 0.5),
            ],
            "max (openvino) 12.35 (10.00 to 15.00); stablequant (onnxruntime) 0.00 (-0.50 to 0.50)",
        ),
    ],
)
def test_engines_that_were_evaluated_are_described_and_fp32_is_not(tmp_path, rows, expected):
    assert captions.points_lost(written(tmp_path, ENGINES, rows)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "none"),
        ([("cnn01", 0.1, 0.0, 0.2, False)], "none"),
        (
            [("cnn01", 3.0, 2.0, 4.0, True), ("cnn02", 9.0, 8.0, 9.5, False), ("transformer01", 1.25, 0.5, 2.0, True)],
            "cnn01 3.00 (2.00 to 4.00); transformer01 1.25 (0.50 to 2.00)",
        ),
    ],
)
def test_only_selected_layers_are_described(tmp_path, rows, expected):
    assert captions.layers_selected(written(tmp_path, PROBES, rows)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "no layer was searched"),
        (
            [
                ("cnn01", 99.0, 5.0, 4.0, 6.0, False),
                ("cnn01", 99.999, 0.5, 0.25, 0.75, True),
                ("cnn02", 100.0, 1.0, 0.0, 2.0, True),
            ],
            "cnn01 99.999 %, 0.50 (0.25 to 0.75); cnn02 100.0 %, 1.00 (0.00 to 2.00)",
        ),
    ],
)
def test_only_the_best_cutoff_of_a_layer_is_described(tmp_path, rows, expected):
    assert captions.cutoffs_chosen(written(tmp_path, SEARCHES, rows)) == expected


@pytest.mark.parametrize(("equalised", "state"), [(True, ", channels equalised"), (False, "")])
def test_the_shown_layers_have_their_own_cutoffs(equalised, state):
    layers = [
        {"layer": "cnn02", "degradation": 4.0, "ci_low": 3.0, "ci_high": 5.0},
        {"layer": "cnn01", "degradation": 2.0, "ci_low": 1.0, "ci_high": 3.0},
        {"layer": "transformer01", "degradation": 1.0, "ci_low": 0.0, "ci_high": 2.0},
        {"layer": "head", "degradation": float("nan")},  # only screened
    ]
    activations = {
        "cnn01": {"layer": "cnn01", "percentile": 99.9},
        "cnn02": {"layer": "cnn02", "percentile": 99.999},
        "transformer02.fc1": {"layer": "transformer02", "percentile": 98.0},
    }
    assert captions.layers_shown(layers, activations, equalised) == (
        f"as they are quantized{state}. Points of WER that these layers lose alone: "
        "cnn02 4.00 (3.00 to 5.00), cut off at 99.999 %; cnn01 2.00 (1.00 to 3.00), cut off at 99.9 %; "
        "transformer01 1.00 (0.00 to 2.00); head unknown"
    )


@pytest.mark.parametrize(
    ("model", "lost", "failed"),
    [
        ("tiny", "nncf 0.75 (0.50 to 1.00); stablequant -0.25 (-0.50 to 0.00)", 'inc (out of "memory"; 8 GB)'),
        ("large", "nncf 6.00 (5.00 to 7.00)", "none"),
        ("broken", "no engine of another quantizer could be evaluated", "nncf (no graph)"),
        ("absent", "no engine of another quantizer could be evaluated", "none"),
    ],
)
def test_peers_are_those_of_the_model(tmp_path, model, lost, failed):
    rows = [
        ("tiny", "fp32", 0.0, 0.0, 0.0, None),
        ("tiny", "nncf", 0.75, 0.5, 1.0, None),
        ("tiny", "inc", None, None, None, 'out of "memory"; 8 GB'),
        ("tiny", "stablequant", -0.25, -0.5, 0.0, None),
        ("large", "fp32", 0.0, 0.0, 0.0, None),
        ("large", "nncf", 6.0, 5.0, 7.0, None),
        ("broken", "nncf", None, None, None, "no graph"),
    ]
    table = written(tmp_path, PEERS, rows)
    assert captions.points_lost_by_peers(table, model) == lost
    assert captions.failed_peers(table, model) == failed


@pytest.mark.parametrize(
    "describe",
    [
        captions.points_lost,
        captions.layers_selected,
        captions.cutoffs_chosen,
        lambda table: captions.points_lost_by_peers(table, "tiny"),
        lambda table: captions.failed_peers(table, "tiny"),
    ],
)
def test_a_table_that_is_missing_or_of_other_columns_raises_what_the_workflow_takes_for_not_yet(tmp_path, describe):
    with pytest.raises(FileNotFoundError):
        describe(tmp_path / "absent.tsv")
    with pytest.raises(KeyError):
        describe(written(tmp_path, ["other"], [(1,)]))


def test_the_module_imports_nothing_heavy():
    """The Snakefile imports it, and every cluster job parses the Snakefile."""
    code = (
        "import sys; before = set(sys.modules); from stablequant.report import captions; "
        "print({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'stablequant'}"
