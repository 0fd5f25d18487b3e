"""The model card, as the hub reads it."""

from pathlib import Path

import pytest
import yaml
from checkout import DEMO
from huggingface_hub import ModelCard
from run_results import FP32, INT8, ROW, write_results
from whisper_files import import_tiny_whisper

from stablequant.bundle.card import model_card
from stablequant.engines.folder import GPU
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.report.counted import LETTERS
from stablequant.report.verdict import FinishedRun

BY_CPU = {"machine": "64 cores of a far CPU"}
BY_GPU = {"backend": "tensorrt", "machine": GPU}
IDLE = dict.fromkeys(("wer", "degradation", "ci_low", "ci_high", "speedup", "new_speedup")) | {
    **{"backend": "tensorrt-rtx", "status": "built, not run: no supported GPU"}
}


def test_the_hub_reads_task_and_word_error_rate(tmp_path):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    idle = ROW | {"backend": "tensorrt-rtx", "method": "stablequant", "status": "built, not run: no supported GPU"}
    results = write_results(tmp_path, FP32, idle, INT8 | {"wer": 3.4249})
    checkpoint = tmp_path / "checkpoint"
    text = model_card('de"mo', FinishedRun(results, "A note.", acceptable=1.0), 300, checkpoint, samples=5)
    _, matter, body = text.split("---\n", 2)
    assert yaml.safe_load(matter)["pipeline_tag"] == "automatic-speech-recognition"
    assert yaml.safe_load(matter)["library_name"] == "openvino"
    assert "tensorrt-rtx" not in yaml.safe_load(matter)["tags"]
    card = ModelCard(text)
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, card.data.model_name) == ("wer", 3.42, 'de"mo')
    assert "`onnx/model_quantized.onnx` holds the quantized graph" in body
    assert "holds 5 recordings of the evaluation split" in body
    opening = body.partition("## May it be deployed?")[2].strip()
    assert opening.startswith("**tensorrt-rtx: built, not run.** No supported GPU.\n\n**openvino: safe to deploy.** ")
    assert "Of 5 layers, 4 have INT8" in body and "Layers searched: cnn01 at 99.95 %." in body
    assert "tensorrt-rtx" not in body.partition("| ---")[2], "a row of an engine that did not run says nothing"
    strict = model_card("demo", FinishedRun(results, "", acceptable=0.4), 300, checkpoint)
    assert "`samples/`" not in strict
    assert "safe to deploy" not in strict, "its interval ends at 0.5"
    assert "**openvino: not proven safe.**" in strict and "a loss of more than 0.4 points" in strict


def test_a_card_names_the_libraries_that_its_engines_ran_in(tmp_path):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    results = write_results(tmp_path, *(row | {"backend": "onnxruntime"} for row in (FP32, INT8)))
    text = model_card("demo", FinishedRun(results, "", acceptable=1.0), 300, tmp_path / "checkpoint")
    matter = yaml.safe_load(text.split("---\n", 2)[1])
    assert "library_name" not in matter
    assert "onnxruntime" in matter["tags"] and "openvino" not in matter["tags"]


@pytest.mark.parametrize(
    ("rows", "judged"),
    [
        ([BY_CPU], "Judged on 64 cores of a far CPU, with 300 evaluation utterances"),
        ([BY_GPU], "Judged on a GPU, with 300 evaluation utterances"),
        ([BY_CPU, BY_GPU], "Judged on 64 cores of a far CPU and a GPU, with 300"),
        ([BY_CPU, IDLE], "Judged on 64 cores of a far CPU, with 300"),
        ([{}], "Judged with 300 evaluation utterances"),  # made by a version that did not store the machine
    ],
)
def test_a_card_names_the_machine_that_judged(tmp_path, rows, judged):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    results = write_results(tmp_path, *(row | changes for changes in rows for row in (FP32, INT8)))
    text = model_card("demo", FinishedRun(results, "", acceptable=1.0), 300, tmp_path / "checkpoint")
    assert judged in text
    assert ("VNNI" in text) == (rows != [BY_GPU])


def test_a_card_of_engines_that_did_not_run_says_nothing_of_judging_them(tmp_path):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    results = write_results(tmp_path, *(row | IDLE for row in (FP32, INT8)))
    text = model_card("demo", FinishedRun(results, "", acceptable=1.0), 300, tmp_path / "checkpoint")
    opening, _, rest = text.partition("## What was quantized")
    assert opening.endswith("**tensorrt-rtx: built, not run.** No supported GPU.\n\n")
    assert "VNNI" not in rest


@pytest.mark.parametrize("splits", [True, False])
def test_a_card_says_where_letters_are_counted(tmp_path, monkeypatch, splits):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    monkeypatch.setattr(FrontEnd, "splits_letters", splits)
    run = FinishedRun(write_results(tmp_path, FP32, INT8), "", acceptable=1.0)
    assert model_card("demo", run, 300, tmp_path / "checkpoint").count(LETTERS) == splits


def test_transformers_js_is_promised_only_where_it_opens_the_bundle(tmp_path):
    results = write_results(tmp_path, FP32, INT8)
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    assert "transformers.js" in tags(results, tmp_path / "checkpoint")
    (tmp_path / "checkpoint/tokenizer.json").unlink()
    assert "transformers.js" not in tags(results, tmp_path / "checkpoint")
    whisper = import_tiny_whisper(tmp_path / "whisper")
    assert (whisper / "tokenizer.json").is_file() and "transformers.js" not in tags(results, whisper)


def tags(results: Path, checkpoint: Path) -> list[str]:
    text = model_card("demo", FinishedRun(results, "", acceptable=1.0), 300, checkpoint)
    found: list[str] = yaml.safe_load(text.split("---\n", 2)[1])["tags"]
    return found
