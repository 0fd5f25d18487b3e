"""What a run will take: from the layers, the audio and a timed pass."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from recognising import Loaded

from stablequant.errors import StableQuantError
from stablequant.quantize.plan import SHORTER, make_plan
from stablequant.quantize.settings import defaults
from stablequant.storage.files import read_table, write_json, write_table
from stablequant.workflow.few_words import few_words, words_in
from stablequant.workflow.procedure import read_procedure
from stablequant.workflow.stages import START_SECONDS, Amount, Estimate, Pace, passes_by_rule

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
    layers = [{"module": f"m{number}", "layer": f"layer{number}", "output_activation": ""} for number in range(10)]
    write_table(tmp_path / "layers.tsv", pd.DataFrame(layers))
    write_json(tmp_path / "speed.json", {"seconds_per_audio_second": 1.0, "pass_seconds": 500.0})
    return tmp_path


def test_the_plan_counts_layers_audio_passes_and_time(results):
    plan = make_plan(results, {}, defaults(), cores=1)
    assert (plan.layers, plan.percentiles, plan.threshold) == (10, 8, 0.25)
    assert (plan.calibration.utterances, plan.calibration.words, plan.calibration.seconds) == (50, 100, 500.0)
    assert plan.calibration.speakers == 2
    parts = (120 + 3 * 60 + 60) / 500, 9 * 60 / 500
    assert plan.passes == pytest.approx(parts[0] + 1.5 + 0.6 * 10 + 3.0 + parts[1])
    assert plan.seconds >= plan.passes * 500
    layers = read_table(results / "layers.tsv").assign(output_activation=["queries", "keys", *[""] * 8])
    write_table(results / "layers.tsv", layers)
    attended = make_plan(results, {}, defaults(), cores=1)
    assert attended.passes == pytest.approx(plan.passes + (2 + 2) * 60 / 500), "where attention may be in INT8"
    assert plan.seconds_per_search >= 0.6 * 8 * 500
    assert make_plan(results, {"engines": ["openvino", "onnxruntime"]}, defaults(), cores=1).seconds > plan.seconds
    text = "\n".join(plan.lines())
    assert "50 utterances, 100 words, 2 speakers" in text and "openvino: fp32, max, stablequant" in text


def test_of_a_screened_search_and_of_the_papers_it_is_told_what_they_take(results):
    config = defaults()
    screened = make_plan(results, {}, config | {"search": "screened", "probe": {"layers_per_job": 5}}, cores=1)
    exhaustive = make_plan(results, {}, config, cores=1)
    assert screened.passes == pytest.approx(exhaustive.passes + 0.6 * 10 * 60 / 500)
    assert screened.passes_per_search == pytest.approx(0.6 * (8 + 9 * 60 / 500))
    told = screened.lines()
    assert "each is quantized alone on 60 s of audio, and on all of it where that leaves doubt" in told[0]
    assert all(any(line.startswith(f"{name:<14}at most about ") for line in told) for name in ("passes", "time"))
    assert "each is quantized alone, and one that loses" in exhaustive.lines()[0]
    raced = make_plan(results, {}, config | {"racing": {"enabled": True, "confidence": 0.95}}, cores=1)
    assert (raced.passes, raced.racing) == (exhaustive.passes, True)
    assert any(line.startswith("time          at most about ") for line in raced.lines())
    assert [SHORTER in found.lines() for found in (exhaustive, screened, raced)] == [True, False, False]
    assert make_plan(results, {"procedure": "paper"}, config, cores=1).passes == pytest.approx(1.5 + 0.6 * 10)


def test_engines_take_time_by_what_they_hear_and_searches_one_job_after_the_other():
    config = defaults()

    def passes(evaluation: float, **changes: object) -> dict[str, float]:
        settings = config | changes
        amount = Amount(10, calibration=500.0, evaluation=evaluation, methods=3, with_outputs=0)
        return passes_by_rule(settings, read_procedure(settings, "extended"), amount)

    assert passes(1000)["evaluate_engine"] == pytest.approx(2 * passes(500)["evaluate_engine"])
    timing = {"audio_seconds": 60, "rounds": 5}
    assert passes(500, timing=timing)["time_engines"] == pytest.approx(2 * passes(500)["time_engines"])
    pace = Pace(lambda: Estimate(passes(1000), 100.0), cores=4)
    assert pace.seconds_left(["evaluate_engine"]) == pytest.approx(START_SECONDS + 0.6 * 100)
    assert pace.seconds_left(["equalise_channels", "round_weights"]) == pytest.approx(2 * START_SECONDS + 36)


def test_a_disk_that_is_too_small_stops_before_anything_starts_unless_the_results_are_there(results, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(StableQuantError, match="only 0 MB are free, but what is still to be written needs about"):
        make_plan(results, {}, defaults(), cores=1)
    for folder in ("onnx", "engines/openvino", "bundle"):
        (results / folder).mkdir(parents=True)
    for method in defaults()["methods"]:
        (results / f"onnx/{method}.onnx").touch()
        (results / f"engines/openvino/{method}").mkdir()
    assert make_plan(results, {}, defaults(), cores=1).kept_mb > 0


def test_a_split_whose_words_are_coarser_than_the_threshold_is_warned_of(results):
    words = words_in(results / "utterances/calibration.tsv")
    assert words == 100
    told = few_words(words, 0.25, "calibration split")
    assert "one word is 1 points of WER" in told and "400 words would do" in told
    assert few_words(400, 0.25, "split") is None and few_words(399, 0.25, "split")
    assert few_words(1, 0, "split") is None, "no number of words would do"
