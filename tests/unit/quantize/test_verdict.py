"""The verdict: safe only where the interval says so, and what to do where it does not."""

from pathlib import Path

import pandas as pd
import pytest

from stablequant.engines.folder import EVALUATED
from stablequant.quantize.verdict import judge, verdict
from stablequant.storage.files import write_json, write_table


@pytest.mark.parametrize(
    ("loss", "low", "high", "words", "safe", "told"),
    [
        (
            0.1,
            -0.3,
            0.5,
            2000,
            True,
            "safe to deploy: on speech like the evaluation split it loses at most 0.50 points",
        ),
        (5.0, 4.0, 6.0, 2000, False, "not safe to deploy: it loses more than 1 points; try --unrecovered keep"),
        (1.5, 0.5, 2.5, 2000, False, "not safe to deploy: it seems to lose more than 1 points"),
        (0.5, -0.5, 1.5, 1000, False, "about 4000 words would do (1000 were heard)"),
        (0.0, 0.0, 0.0, 50, False, "about 300 words would do (50 were heard)"),
        (0.0, 0.0, 0.0, 301, True, "it loses at most 1.00 points"),
    ],
)
def test_a_loss_is_judged_by_its_interval(loss, low, high, words, safe, told):
    found, sentence = judge(loss, low, high, words, acceptable=1.0)
    assert found == safe
    assert told in sentence


ROW = {
    **{"words": 2000, "ci_over": "utterances", "size_bytes": 30_000_000, "size_ratio": 0.3, "onnx_bytes": 1},
    **{"onnx_ratio": 0.26, "audio_seconds": 900.0, "wall_seconds": 2.0, "rtfx": 450.0, "speedup": 2.14},
    **{"speedup_low": 2.04, "speedup_high": 2.24, "new_speedup": 1.91},
    **{"float_layers": 0, "arithmetic": "int8", "status": EVALUATED, "backend": "openvino"},
}
FP32 = ROW | {"method": "fp32", "wer": 3.4, "degradation": 0.0, "ci_low": 0.0, "ci_high": 0.0}
INT8 = ROW | {"method": "stablequant", "wer": 3.5, "degradation": 0.1, "ci_low": -0.3, "ci_high": 0.5}


def write_results(folder: Path, *rows: dict) -> Path:
    write_table(folder / "comparison.tsv", pd.DataFrame(rows))
    searched = [
        {"layer": "cnn01", "percentile": 99.9, "best": True},
        {"layer": "cnn01", "percentile": 99.0, "best": False},
    ]
    write_table(folder / "percentiles.tsv", pd.DataFrame(searched))
    (folder / "scales").mkdir()
    write_json(folder / "scales/stablequant.json", {"float_layers": ["head"], "activations": {}})
    return folder


def test_words_size_speed_and_layers_are_told(tmp_path):
    found = verdict(write_results(tmp_path, FP32, INT8), acceptable=1.0)
    assert found.safe
    assert found.lines == [
        "openvino: WER 3.40 % before and 3.50 % after quantization; it loses 0.10 points (-0.30 to 0.50 at 95 %) of "
        "2000 words; size 30.0 MB, 0.30 of fp32's; 2.1 times as fast (2.0 to 2.2), 1.9 times at "
        "lengths that it meets for the first time",
        "  safe to deploy: on speech like the evaluation split it loses at most 0.50 points",
        "layers searched: cnn01 at 99.9 %",
        "layers left in floating point: head",
    ]


def test_where_fp32_fails_or_no_engine_ran_nothing_is_called_safe(tmp_path):
    (tmp_path / "deaf").mkdir()
    deaf = verdict(write_results(tmp_path / "deaf", FP32 | {"wer": 99.0}, INT8 | {"wer": 99.0}), acceptable=1.0)
    assert not deaf.safe and any("fp32 itself has a WER of 99 %" in line for line in deaf.lines)
    (tmp_path / "gpu").mkdir()
    idle = [row | {"status": "built, not run: no supported GPU"} for row in (FP32, INT8)]
    built = verdict(write_results(tmp_path / "gpu", *idle), acceptable=1.0)
    assert not built.safe and built.lines[0] == "openvino: built, not run: no supported GPU"


def test_a_cpu_that_computes_in_floating_point_is_told(tmp_path):
    found = verdict(write_results(tmp_path, FP32, INT8 | {"arithmetic": "float32"}), acceptable=1.0)
    assert "no gain in speed here: this CPU runs it in float32" in found.lines[1]
