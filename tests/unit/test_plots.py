"""What the report's plots draw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stablequant import plots


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


def test_forty_engines_have_as_many_marks(drawn):
    table = pd.DataFrame({"backend": "openvino", "method": [f"m{i}" for i in range(40)]})
    plots.plot_tradeoff(table.assign(wer=5.0, size_ratio=0.3, rtfx=9.0), Path("tradeoff.svg"))
    marks = [(line.get_marker(), line.get_fillstyle()) for line in drawn[0].axes[0].lines]
    assert len(set(marks)) == len(marks) == 40
