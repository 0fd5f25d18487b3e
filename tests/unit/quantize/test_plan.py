"""What a run will take: from the layers, the audio and a timed pass."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from recognising import Loaded

from stablequant.errors import StableQuantError
from stablequant.quantize.plan import make_plan
from stablequant.quantize.settings import defaults
from stablequant.storage.files import write_json, write_table
from stablequant.workflow.few_words import few_words, words_in

WORDS = {"calibration": 100, "evaluation": 50}


@pytest.fixture
def results(tmp_path, tiny: Loaded) -> Path:
    shutil.copytree(tiny.folder, tmp_path / "checkpoint")
    for split, count in WORDS.items():
        row = {
            "path": "a.flac",
            "samples": 160_000,
            "transcript": "A WORD",
            "sha256": "0",
            **dict.fromkeys(("start", "stop", "channel")),
        }
        rows = [row | {"utterance": f"u{n}", "speaker": f"s{n % 2}"} for n in range(count // 2)]
        columns = ["utterance", "path", "samples", "transcript", "sha256", "speaker", "start", "stop", "channel"]
        (tmp_path / "utterances").mkdir(exist_ok=True)
        write_table(tmp_path / f"utterances/{split}.tsv", pd.DataFrame(rows, columns=columns))
    layers = [{"module": f"m{number}", "layer": f"layer{number}"} for number in range(10)]
    write_table(tmp_path / "layers.tsv", pd.DataFrame(layers))
    write_json(tmp_path / "speed.json", {"seconds_per_audio_second": 1.0, "pass_seconds": 500.0})
    return tmp_path


def test_the_plan_counts_layers_audio_passes_and_time(results):
    plan = make_plan(results, {}, defaults(), cores=1)
    assert (plan.layers, plan.percentiles, plan.threshold) == (10, 8, 0.25)
    assert (plan.calibration.utterances, plan.calibration.words, plan.calibration.seconds) == (50, 100, 500.0)
    assert plan.calibration.speakers == 2
    assert plan.passes == pytest.approx(1.5 + 0.6 * 10 + 3.0)
    assert plan.seconds >= plan.passes * 500
    assert plan.seconds_per_search >= 0.6 * 8 * 500
    assert make_plan(results, {"engines": ["openvino", "onnxruntime"]}, defaults(), cores=1).seconds > plan.seconds
    text = "\n".join(plan.lines())
    assert "50 utterances, 100 words, 2 speakers" in text and "openvino: fp32, max, stablequant" in text


def test_a_disk_that_is_too_small_stops_before_anything_starts(results, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(StableQuantError, match="only 0 MB are free, but the results need about"):
        make_plan(results, {}, defaults(), cores=1)


def test_a_split_whose_words_are_coarser_than_the_threshold_is_warned_of(results):
    words = words_in(results / "utterances/calibration.tsv")
    assert words == 100
    told = few_words(words, 0.25, "calibration split")
    assert "one word is 1 points of WER" in told and "400 words would do" in told
    assert few_words(400, 0.25, "split") is None and few_words(399, 0.25, "split")
    assert few_words(1, 0, "split") is None, "no number of words would do"
