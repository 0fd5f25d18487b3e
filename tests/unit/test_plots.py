"""What the report's plots draw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stablequant.quantization.histograms import Histogram
from stablequant.report import plots


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures, as they are before they are written."""
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _path: figures.append(figure))
    return figures


def test_a_cut_off_that_was_given_up_is_no_part_of_the_line(drawn):
    table = pd.DataFrame(
        {
            "layer": "cnn01",
            "percentile": [98.0, 99.0, 99.9],
            "wer": [50.0, 5.0, 4.0],
            "best": [False, False, True],
            "stopped": [True, False, False],
        }
    )
    plots.plot_percentiles(table, Path("percentiles.svg"))
    line, best, stopped = drawn[0].axes[0].lines
    assert np.array_equal(line.get_ydata(), [np.nan, 5, 4], equal_nan=True)
    assert best.get_ydata().tolist() == [4]
    assert stopped.get_ydata().tolist() == [50]


def test_the_comparison_tells_the_size_of_the_engine_and_not_of_its_graph(drawn):
    table = pd.DataFrame(
        {
            "backend": "openvino",
            "method": ["fp32", "stablequant"],
            "degradation": [0.0, 0.5],
            "ci_low": [0.0, 0.1],
            "ci_high": [0.0, 0.9],
            "size_ratio": [1.0, 0.297],
            "onnx_ratio": [1.0, 0.266],
        }
    )
    plots.plot_comparison(table, Path("comparison.svg"))
    assert [text.get_text().strip() for text in drawn[0].axes[0].texts] == ["0.50 points, 0.297 of fp32's size"]


def test_a_percentile_that_least_squared_error_keeps_is_seen_over_it(drawn):
    histogram = Histogram(np.array([90, 9, 1]), width=10.0, amax=30.0)
    row = {"layer": "cnn01", "percentile": 100.0, "low": 0.0, "high": 30.0}
    plots.plot_histograms({"cnn01": histogram}, {"cnn01": row}, ["cnn01"], Path("histograms.svg"))
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    wide, narrow = lines["least squared error"], lines["percentile of the layer"]
    assert [*wide.get_xdata()] == [*narrow.get_xdata()], "else neither hides the other"
    assert drawn[0].axes[0].lines.index(narrow) > drawn[0].axes[0].lines.index(wide)
    assert narrow.get_linewidth() < wide.get_linewidth() / 2


def test_the_timeline_tells_jobs_and_work(drawn):
    ends = pd.to_datetime(["2026-01-01 10:00:10", "2026-01-01 10:00:30"])
    jobs = pd.DataFrame({"rule": ["a", "b"], "end": ends, "seconds": [10.0, 5.0], "work": [20.0, 5.0]})
    plots.plot_timeline(jobs, Path("timeline.svg"))
    assert drawn[0].axes[0].get_title(loc="left") == "2 jobs, 25 core seconds of work within 30 s"


def test_forty_engines_have_as_many_marks(drawn):
    table = pd.DataFrame({"backend": "openvino", "method": [f"m{i}" for i in range(40)]})
    plots.plot_tradeoff(table.assign(wer=5.0, size_ratio=0.3, rtfx=9.0), Path("tradeoff.svg"))
    marks = [(line.get_marker(), line.get_fillstyle()) for line in drawn[0].axes[0].lines]
    assert len(set(marks)) == len(marks) == 40
