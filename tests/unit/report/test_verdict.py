"""The verdict: safe only where the interval says so, and what to do where it does not."""

import pandas as pd
import pytest
from run_results import FP32, INT8, write_results

from stablequant.report.compare import NOT_MEASURABLE
from stablequant.report.verdict import judge, verdict
from stablequant.storage.files import write_table


@pytest.mark.parametrize(
    ("loss", "low", "high", "words", "safe", "told"),
    [
        (
            0.1,
            -0.3,
            0.5,
            2000,
            True,
            "it loses at most 0.50 points; up to 1 point counts as acceptable",
        ),
        (5.0, 4.0, 6.0, 2000, False, "not safe to deploy: it loses more than 1 point; leave the layers"),
        (1.5, 0.5, 2.5, 2000, False, "not safe to deploy: it seems to lose more than 1 point"),
        (0.5, -0.5, 1.5, 1000, False, "about 4000 words would do (1000 were heard)"),
        (0.0, 0.0, 0.0, 50, False, "about 300 words would do (50 were heard)"),
        (0.0, 0.0, 0.0, 301, True, "it loses at most 1.00 points"),
    ],
)
def test_a_loss_is_judged_by_its_interval(loss, low, high, words, safe, told):
    found, sentence = judge(loss, low, high, words, acceptable=1.0)
    assert found == safe
    assert told in sentence


@pytest.mark.parametrize(("loss", "acceptable"), [(0.0, 0.0), (0.5, 0.5), (0.499, 0.5)])
def test_where_no_amount_of_audio_would_do_no_number_of_words_is_told(loss, acceptable):
    safe, sentence = judge(loss, loss - 0.3, loss + 0.3, 2000, acceptable)
    assert not safe and sentence.endswith("the loss is so near to it that no amount of audio would")


def test_where_speakers_were_drawn_more_of_them_are_asked_for():
    _, sentence = judge(0.5, -0.5, 1.5, 1000, 1.0, by_speakers=True)
    assert sentence.endswith("about 4000 words would do, by as many times more speakers (1000 were heard)")


def test_words_size_speed_and_layers_are_told(tmp_path):
    found = verdict(write_results(tmp_path, FP32, INT8), acceptable=1.0)
    assert found.safe
    assert found.lines == [
        "openvino: WER 3.40 % before and 3.50 % after quantization; it loses 0.10 points (-0.30 to 0.50 at 95 %) of "
        "2000 words; size 30.0 MB, 0.30 of fp32's; 2.1 times as fast (2.0 to 2.2), 1.9 times at "
        "lengths that it meets for the first time",
        "  safe to deploy: on speech like the evaluation split it loses at most 0.50 points; up to 1 point counts as "
        "acceptable",
        "layers searched: cnn01 at 99.95 %",
        "layers that needed no search: 2 share a cut-off at 99.8 %",
        "channels that reach far beyond the rest, carried as two INT8 numbers: 2 that enter transformer01",
        "queries and keys of attention in INT8, too: in transformer01",
        "layers left in floating point: head",
    ]


def test_a_searched_layer_that_stays_in_floating_point_is_not_told_as_clipped(tmp_path):
    results = write_results(tmp_path, FP32, INT8)
    row = {"percentile": 99.9, "best": True, "measured": "recognised"}
    write_table(results / "percentiles.tsv", pd.DataFrame([row | {"layer": layer} for layer in ("cnn01", "head")]))
    found = verdict(results, acceptable=1.0).layers
    assert found[0] == "layers searched: cnn01 at 99.95 %, head (in floating point)"
    assert found[-1] == "layers left in floating point: head"


def test_a_speed_at_new_lengths_is_told_also_where_the_other_is_not_measurable(tmp_path):
    row = INT8 | {"speedup": NOT_MEASURABLE, "speedup_low": 0.9, "speedup_high": 1.1, "new_speedup": 0.46}
    found = verdict(write_results(tmp_path, FP32, row), acceptable=1.0)
    told = (
        "a difference in speed is not measurable; it is 0.5 times as fast at lengths that it meets for the first time"
    )
    assert found.lines[0].endswith(told)


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


def test_without_fp32_nothing_is_judged(tmp_path):
    found = verdict(write_results(tmp_path, INT8 | dict.fromkeys(["degradation", "ci_low", "ci_high"])), acceptable=1.0)
    assert not found.safe
    assert found.lines[0] == "openvino: cannot be judged: fp32 was not evaluated on this backend"
