"""The comparison of engines, whatever was judged of them."""

import pandas as pd
import pytest

from stablequant.engines.folder import EVALUATED
from stablequant.engines.time_engines import SPEEDS
from stablequant.report.compare import NOT_MEASURABLE, EvaluationRecord, compare, read_comparison
from stablequant.report.show import markdown, show
from stablequant.scoring.intervals import widening
from stablequant.storage.files import write_table

BUILT = {"size_bytes": 40, "onnx_bytes": 50, "float_layers": 3, "arithmetic": "float32"}
JUDGED = {"status": EVALUATED, "errors": [1, 0], "words": [4, 6], "audio_seconds": 8.0, "wall_seconds": 2.0}


def test_an_engine_is_compared_with_fp32_of_its_backend():
    quantized = BUILT | JUDGED | {"size_bytes": 10, "errors": [1, 1]}
    table = compare(
        [
            {"backend": "openvino", "method": "fp32", **BUILT, **JUDGED},
            {"backend": "openvino", "method": "max", **quantized},
        ],
        timings(max=(2.0, 1.9, 2.1)),
        seed=0,
    )
    row = table.iloc[1]
    assert (row["wer"], row["degradation"], row["size_ratio"], row["speedup"]) == (20.0, 10.0, 0.25, 2.0)


def test_the_table_names_the_machine_that_recognised(tmp_path):
    known, unknown = rows()
    table = compare([{**known, "machine": "4 cores of a far CPU"}, unknown], timings(), seed=0)
    write_table(tmp_path / "comparison.tsv", table)
    found = read_comparison(tmp_path / "comparison.tsv")["machine"]
    assert found[0] == "4 cores of a far CPU" and pd.isna(found[1])


def test_a_speedup_within_the_noise_is_told_as_not_measurable(tmp_path):
    engines: list[EvaluationRecord] = [*rows(), {**rows()[1], "method": "stablequant"}]
    speeds = timings(fp32=(1.0, 0.9, 1.1), max=(1.05, 0.97, 1.2), stablequant=(0.8, 0.7, 0.9))
    write_table(tmp_path / "comparison.tsv", compare(engines, speeds, seed=0))
    table = read_comparison(tmp_path / "comparison.tsv")
    assert table["speedup"].tolist() == [1.0, NOT_MEASURABLE, 0.8]
    assert table["new_speedup"].tolist() == [1.0, NOT_MEASURABLE, 0.8]
    assert table["speedup_high"].tolist() == [1.1, 1.2, 0.9]
    shown = show(tmp_path / "comparison.tsv")
    assert NOT_MEASURABLE in shown and " 0.80 " in shown
    page = markdown(tmp_path / "comparison.tsv")
    assert "| 0.80 (0.70 to 0.90) |" in page and "| not measurable (0.97 to 1.20) |" in page
    assert "_low" not in page and "_high" not in page


def test_an_engine_that_was_not_run_shows_no_interval(tmp_path):
    built = {"backend": "tensorrt-rtx", "method": "fp32", **BUILT, "status": "built, not run: no supported GPU"}
    write_table(tmp_path / "comparison.tsv", compare([*rows(), built], timings(), seed=0))
    row = next(line for line in markdown(tmp_path / "comparison.tsv").splitlines() if "tensorrt-rtx" in line)
    assert "built, not run" in row and " to " not in row


def test_an_engine_that_was_judged_without_its_fp32_stands_alone():
    """As where a GPU came later, and only the method that was edited ran again."""
    table = compare(
        [
            {"backend": "tensorrt-rtx", "method": "fp32", **BUILT, "status": "built, not run: no supported GPU"},
            {"backend": "tensorrt-rtx", "method": "max", **BUILT, **JUDGED},
        ],
        timings(),
        seed=0,
    )
    assert table["wer"].tolist()[1] == 10.0
    assert table["size_ratio"].tolist() == [1.0, 1.0]
    assert pd.isna(table["degradation"]).all()
    assert pd.isna(table["speedup"]).all()


def timings(**speedups: tuple[float, float, float]) -> list[dict[str, object]]:
    """What was timed of methods: the speedup and its interval, the same at new lengths."""
    return [
        {"backend": "openvino", "method": method, **dict(zip(SPEEDS, 2 * (9.0, *found), strict=True))}
        for method, found in speedups.items()
    ]


def rows(**told: list[str] | None) -> list[EvaluationRecord]:
    judged = JUDGED | {"errors": [1, 0, 0, 0] * 5, "words": [4, 6, 5, 5] * 5, **told}
    return [
        {"backend": "openvino", "method": "fp32", **BUILT, **judged},
        {"backend": "openvino", "method": "max", **BUILT, **judged, "errors": [2, 1, 0, 0] * 5},
    ]


def test_the_table_says_whether_speakers_or_utterances_were_drawn(caplog):
    by_speaker = compare(rows(speakers=["a", "a", "b", "b"] * 5), timings(), seed=0).iloc[1]
    assert by_speaker["ci_over"] == "speakers"
    ends = by_speaker["ci_low"], by_speaker["ci_high"]
    assert ends == pytest.approx((10 - 10 * widening(2), 10 + 10 * widening(2))), "only b, only a"
    for unknown in ({}, {"speakers": None}):
        row = compare(rows(**unknown), timings(), seed=0).iloc[1]
        assert row["ci_over"] == "utterances"
        assert row["ci_high"] < 20
    assert not caplog.records
    assert compare(rows(speakers=["a"] * 20), timings(), seed=0).iloc[1].equals(row)
    assert [r.getMessage() for r in caplog.records] == [
        "all utterances are of one speaker: the intervals draw utterances, and hold for this speaker only"
    ]
