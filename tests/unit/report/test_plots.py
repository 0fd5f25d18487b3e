"""What the plots of the report draw."""

import sys
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from checkout import PROJECT
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from stablequant.quantization.histograms import Histogram
from stablequant.report import figures
from stablequant.report.plot_comparison import plot_comparison
from stablequant.report.plot_histograms import plot_histograms
from stablequant.report.plot_peers import plot_peers
from stablequant.report.plot_percentiles import NEUTRAL, plot_percentiles
from stablequant.report.plot_sensitivity import plot_sensitivity
from stablequant.report.plot_timeline import plot_timeline
from stablequant.report.plot_tradeoff import plot_tradeoff

sys.path.insert(0, str(PROJECT / "benchmarks"))
from pictures import plot_whisper


@pytest.fixture
def drawn(monkeypatch) -> Iterator[list[Figure]]:
    """The figures that a test draws, which are kept here and not written to a file."""
    kept: list[Figure] = []
    monkeypatch.setattr(figures, "save", lambda figure, _path: kept.append(figure))
    yield kept
    for figure in kept:
        plt.close(figure)


def test_the_same_figure_gives_the_same_file_and_is_closed(tmp_path):
    for name in ("first", "second"):
        figure, axes = plt.subplots()
        axes.plot([1, 2], "o-")
        figures.save(figure, tmp_path / f"{name}.svg")
        assert not plt.fignum_exists(figure.number)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_selected_layers_have_the_colour_and_the_intervals_are_those_of_the_table(drawn):
    table = pd.DataFrame(
        {
            "layer": ["cnn01", "cnn02"],
            "degradation": [0.25, 4.0],
            "ci_low": [-0.25, 3.0],
            "ci_high": [0.5, 6.0],
            "divergence": [0.0, 0.1],
            "selected": [False, True],
        }
    )
    plot_sensitivity(table, 0.5, Path("sensitivity.svg"))
    axes = drawn[0].axes[0]
    bars, (errors,) = axes.patches, axes.collections
    assert [bar.get_width() for bar in bars] == [4.0, 0.25], "the layer that loses most is at the top"
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [figures.OURS, figures.OTHERS]
    assert [segment[:, 0].tolist() for segment in errors.get_segments()] == [[3.0, 6.0], [-0.25, 0.5]]
    threshold = next(line for line in axes.lines if line.get_label() == "threshold, 0.5 points")
    assert [*threshold.get_xdata()] == [0.5, 0.5]


def test_layers_and_cutoffs_that_were_only_screened_are_not_drawn(drawn):
    layers = {"layer": ["a", "b", "c"], "degradation": [0.7, np.nan, 0.1], "divergence": 0.1, "selected": [1, 0, 0]}
    plot_sensitivity(pd.DataFrame(layers | {"ci_low": [0.5, np.nan, 0.0], "ci_high": [1, np.nan, 1]}), 0.25, Path("a"))
    assert "a loses most, 0.7 points; black lines: 95 % intervals; without a bar: only screened (1)" in titles(drawn[0])
    assert np.nan_to_num([bar.get_width() for bar in drawn[0].axes[0].patches]).tolist() == [0.7, 0.1, 0]
    cutoffs = {"layer": "a", "percentile": [98.0, 99.0, 99.9, 100.0], "wer": [np.nan, 5.0, 4.0, 9.0], "stopped": False}
    cutoffs |= {"best": [False, False, True, False], "utterances": [3, 20, 20, 20]}
    plot_percentiles(pd.DataFrame(cutoffs), Path("b"))
    line = drawn[1].axes[0].lines[0]
    assert [*line.get_xdata()] == [1, 2, 3] and [*line.get_ydata()] == [5, 4, 9]
    assert [label.get_text() for label in drawn[1].axes[0].get_xticklabels()] == ["98", "99", "99.9", "100"]


def test_a_cutoff_that_was_given_up_is_no_part_of_the_line(drawn):
    table = pd.DataFrame(
        {
            "layer": "cnn01",
            "percentile": [98.0, 99.0, 99.9],
            "wer": [50.0, 5.0, 4.0],
            "best": [False, False, True],
            "stopped": [True, False, False],
            "utterances": [5, 20, 20],
        }
    )
    plot_percentiles(table, Path("percentiles.svg"))
    line, best, stopped = drawn[0].axes[0].lines
    assert np.array_equal(line.get_ydata(), [np.nan, 5, 4], equal_nan=True)
    assert best.get_ydata().tolist() == [4]
    assert stopped.get_ydata().tolist() == [50]


def raced(**layers: tuple[float, int, float]) -> pd.DataFrame:
    """Cut-offs by layer: WER and utterances of the best one at 99.9 %, and WER at 100 % on 20 utterances."""
    rows = [
        {"layer": layer, "percentile": percentile, "wer": wer, "utterances": heard, "best": percentile < 100}
        for layer, (best, utterances, whole) in layers.items()
        for percentile, wer, heard in ((99.9, best, utterances), (100.0, whole, 20))
    ]
    return pd.DataFrame(rows).assign(stopped=False)


def test_a_best_cutoff_that_heard_less_audio_is_no_part_of_the_line(drawn):
    plot_percentiles(raced(a=(3.0, 5, 9.0)), Path("percentiles.svg"))
    line, best, _ = drawn[0].axes[0].lines
    assert np.array_equal(line.get_ydata(), [np.nan, 9], equal_nan=True)
    assert best.get_ydata().tolist() == [3]


@pytest.mark.parametrize(
    ("table", "title"),
    [
        (raced(a=(3.0, 5, 9.0)), NEUTRAL),
        (raced(a=(3.0, 5, 9.0), b=(4.0, 20, 4.5)), "Clipping b at 99.9 % brings WER from 4.50 to 4.00 %"),
        (raced(a=(3.0, 5, 9.0), b=(4.5, 20, 4.5)), NEUTRAL),  # a may gain
        (raced(a=(9.0, 20, 9.0), b=(4.5, 20, 4.5)), "No searched layer gains by clipping"),
        (raced(a=(3.0, 5, 9.0))[:0], NEUTRAL),
    ],
)
def test_the_title_compares_only_what_was_heard_in_the_same_audio(drawn, table, title):
    plot_percentiles(table, Path("percentiles.svg"))
    assert titles(drawn[0])[0] == title


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
    plot_comparison(table, Path("comparison.svg"))
    assert [text.get_text().strip() for text in drawn[0].axes[0].texts] == ["0.50 points, 0.30 of fp32's size"]


def test_a_percentile_that_least_squared_error_keeps_is_seen_over_it(drawn):
    histogram = Histogram(np.array([90, 9, 1]), np.array([0.0, 10, 20, 30]))
    row = {"layer": "cnn01", "percentile": 100.0, "low": 0.0, "high": 30.0}
    plot_histograms({"cnn01": histogram}, {"cnn01": row}, ["cnn01"], Path("histograms.svg"))
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    wide, narrow = lines["least squared error"], lines["cut-off of the layer"]
    assert [*wide.get_xdata()] == [*narrow.get_xdata()], "else neither hides the other"
    assert drawn[0].axes[0].lines.index(narrow) > drawn[0].axes[0].lines.index(wide)
    assert narrow.get_linewidth() < wide.get_linewidth() / 2


def test_the_timeline_tells_jobs_and_work(drawn):
    ends = pd.to_datetime(["2026-01-01 10:00:10", "2026-01-01 10:00:30"])
    jobs = pd.DataFrame({"rule": ["a", "b"], "end": ends, "seconds": [10.0, 5.0], "work": [20.0, 5.0]})
    plot_timeline(jobs, Path("timeline.svg"))
    assert titles(drawn[0])[0] == "2 jobs did 25 core seconds of work within 30 s"


def test_the_bars_of_the_comparison_are_sorted(drawn):
    table = pd.DataFrame({"backend": "openvino", "method": ["max", "entropy", "stablequant"], "size_ratio": 0.3})
    plot_comparison(table.assign(degradation=[61.0, 14.0, 0.1], ci_low=0.0, ci_high=70.0), Path("comparison.svg"))
    assert [bar.get_width() for bar in drawn[0].axes[0].patches] == [0.1, 14.0, 61.0]


def labels_of(axes: Axes, names: Iterable[str]) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation) and text.get_text() in set(names)]


def boxes(labels: Iterable[Annotation]) -> list[Bbox]:
    """Where the labels lie, in pixels, without their lines."""
    return [Text.get_window_extent(label).padded(-1) for label in labels]


def marks_of(axes: Axes) -> list[Bbox]:
    """Where the marks lie, in pixels."""
    places = [(axes.transData.transform(line.get_xydata()[0]), line.get_markersize()) for line in axes.lines]
    return [Bbox([place, place]).padded(0.5 * size * axes.figure.dpi / 72) for place, size in places]


@pytest.mark.parametrize("together", [True, False])
def test_every_engine_is_named_beside_its_point_and_no_label_hides_another(drawn, together):
    methods = ["fp32", "stablequant", *(f"m{number}" for number in range(28))]
    draw = np.random.default_rng(0)
    places = {"wer": 5.0, "size_ratio": 0.3, "rtfx": 9.0}
    if not together:
        places = {name: draw.uniform(0.1, place, len(methods)) for name, place in places.items()}
    table = pd.DataFrame({"backend": "openvino", "method": methods, "speedup": 1.0, **places})
    plot_tradeoff(table, Path("tradeoff.svg"))
    figure = drawn[0]
    figure.canvas.draw()
    for axes, column in zip(figure.axes, ("size_ratio", "rtfx"), strict=True):
        labels = labels_of(axes, table["method"])
        assert [label.get_text() for label in labels] == table["method"].tolist()
        assert [label.xy for label in labels] == [*zip(table[column], table["wer"], strict=True)]
        found = boxes(labels)
        assert not any(one.overlaps(other) for one, other in combinations(found, 2))
        assert not any(box.overlaps(mark) for box in found for mark in marks_of(axes))
        ours = next(line for line in axes.lines if line.get_label() == "stablequant")
        assert to_hex(ours.get_color()) == figures.OURS


def test_no_label_reaches_across_an_axis_or_into_the_next_panel(drawn):
    methods = ["fp32", "stablequant", *(f"a-method-with-a-long-name-{number}" for number in range(4))]
    table = pd.DataFrame({"backend": "openvino", "method": methods, "speedup": 1.0, "size_ratio": 1.0})
    plot_tradeoff(table.assign(wer=[60.0, *5 * [0.5]], rtfx=[100.0, *5 * [5.0]]), Path("tradeoff.svg"))
    drawn[0].canvas.draw()
    size, speed = drawn[0].axes
    for axes, right in ((size, speed.bbox.x0), (speed, np.inf)):
        found = boxes(labels_of(axes, methods))
        assert len(found) == len(methods)
        assert all(box.x0 >= axes.bbox.x0 and box.y0 >= axes.bbox.y0 and box.x1 < right for box in found)


def test_a_label_at_its_point_has_no_line_and_one_that_moved_has(drawn):
    table = pd.DataFrame({"backend": "openvino", "method": ["fp32", "stablequant", "max"], "speedup": 1.0})
    places = {"wer": [5.0, 5.0, 60.0], "size_ratio": [1.0, 0.3, 0.3], "rtfx": [9.0, 20.0, 20.0]}
    plot_tradeoff(table.assign(**places), Path("apart.svg"))
    plot_tradeoff(table.assign(wer=5.0, size_ratio=0.3, rtfx=9.0), Path("together.svg"))
    apart, together = ([bool(label.arrow_patch) for label in labels_of(f.axes[1], table["method"])] for f in drawn)
    assert apart == [False, False, False] and any(together)


WHISPER = pd.DataFrame(  # made up
    {
        "engine": ["openvino", "openvino", "openvino", "faster-whisper", "faster-whisper", "whisper.cpp"],
        "method": ["fp32", "stablequant", "nncf-smoothquant", "float32", "int8", "q8_0"],
        "wer": [5.0, 5.1, 93.4, 5.0, 5.2, None],
        "size_bytes": [100.0, 25.0, 30.0, 100.0, 25.0, None],
        "rtfx": [10.0, 24.0, 25.0, 8.0, 12.0, None],
    }
)


def test_a_very_wrong_engine_is_told_at_the_edge_and_does_not_set_the_scale(drawn):
    plot_whisper(WHISPER, Path("whisper.svg"))
    (axes,) = drawn[0].axes
    top = axes.get_ylim()[1]
    assert 5.2 < top < 10
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["OpenVINO nncf-smoothquant: 93 %"].get_ydata().tolist() == [top]
    assert lines["OpenVINO nncf-smoothquant: 93 %"].get_marker() == "^"
    texts = [text.get_text() for text in axes.texts]
    assert texts == [
        "OpenVINO fp32",
        "OpenVINO stablequant",
        "OpenVINO nncf-smoothquant: 93 %",
        "faster-whisper fp32",
        "faster-whisper int8",
    ]
    message, detail = titles(drawn[0])
    assert message == "StableQuant: 5.1 % WER where fp32 has 5.0 %, 0.25 of the size, 2.4 times the speed"
    assert "▲: higher than the axis reaches" in detail


def test_where_no_engine_is_far_off_nothing_is_cut(drawn):
    plot_whisper(WHISPER[WHISPER["method"] != "nncf-smoothquant"], Path("whisper.svg"))
    (axes,) = drawn[0].axes
    assert "^" not in {line.get_marker() for line in axes.lines} and "▲" not in titles(drawn[0])[1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_labels_are_spread_in_their_order(places, gap):
    moved = figures.spread(places, gap, low=0)
    order = sorted(range(len(places)), key=places.__getitem__)
    assert all(moved[b] - moved[a] >= gap * (1 - 1e-9) for a, b in pairwise(order))
    assert min(moved) >= 0
    if all(places[b] - places[a] >= gap for a, b in pairwise(order)):
        assert moved == places, "nothing had to move"


@pytest.mark.parametrize("ends", [(0.5, 3.0), (30.0, 80.0)])
def test_the_sensitivity_axis_has_ticks_as_far_as_the_bars_reach(drawn, ends):
    row = {"degradation": 0.1, "ci_low": -0.1, "divergence": 0.0, "selected": False}
    table = pd.DataFrame({"layer": ["a", "b"], "ci_high": ends, **row})
    plot_sensitivity(table, 0.25, Path("sensitivity.svg"))
    axes = drawn[0].axes[0]
    ticks = [tick for tick in axes.get_xticks() if tick <= axes.get_xlim()[1]]
    assert max(ticks) >= 0.5 * max(ends)
    assert len([tick for tick in ticks if tick > 1]) >= (2 if max(ends) > 5 else 1)


def titles(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_titles_tell_the_message_in_numbers(drawn):
    rows = {"ci_low": 0.0, "ci_high": 1.0, "divergence": 0.0, "selected": [True, False, False]}
    layers = pd.DataFrame({"layer": ["a", "b", "c"], "degradation": [0.71, 0.1, 0.0], **rows})
    plot_sensitivity(layers, 0.25, Path("sensitivity.svg"))
    cutoffs = pd.DataFrame(
        {"layer": "cnn02", "percentile": [99.9, 100.0], "wer": [3.44, 4.5], "best": [True, False], "stopped": False}
    ).assign(utterances=20)
    plot_percentiles(cutoffs, Path("percentiles.svg"))
    engines = pd.DataFrame({"backend": "openvino", "method": ["fp32", "max", "stablequant"]}).assign(
        degradation=[0.0, 61.65, 0.04], ci_low=0.0, ci_high=1.0, size_ratio=[1.0, 0.29, 0.3], wer=[3.38, 65.03, 3.42]
    )
    plot_comparison(engines, Path("comparison.svg"))
    plot_tradeoff(engines.assign(rtfx=[100.0, 200.0, 190.0], speedup=[1.0, 2.0, 1.9]), Path("tradeoff.svg"))
    assert [titles(figure)[0] for figure in drawn] == [
        "1 of 3 layers lose more than 0.25 points when quantized alone",
        "Clipping cnn02 at 99.9 % brings WER from 4.50 to 3.44 %",
        "StableQuant loses 0.04 points of WER, the best other method 61.6 points",
        "StableQuant: 3.4 % WER where fp32 has 3.4 %, 0.30 of the size, 1.9 times the speed",
    ]


def test_peers_are_drawn_by_speed_and_compared_with_fp32(drawn):
    table = pd.DataFrame(
        {
            "method": ["nncf", "fp32", "inc", "stablequant"],
            "wer": [5.0, 4.0, None, 4.5],
            "size_bytes": [250.0, 1000.0, None, 300.0],
            "rtfx": [90.0, 30.0, None, 75.0],
        }
    )
    plot_peers(table, Path("peers.svg"))
    (speed,) = drawn[0].axes
    assert [(line.get_label(), *line.get_xdata(), *line.get_ydata()) for line in speed.lines] == [
        ("nncf", 90.0, 5.0),
        ("fp32", 30.0, 4.0),
        ("stablequant", 75.0, 4.5),
    ]
    told = "StableQuant: 4.5 % WER where fp32 has 4.0 %, 0.30 of the size, 2.5 times the speed"
    assert told in [text.get_text() for text in drawn[0].texts]
