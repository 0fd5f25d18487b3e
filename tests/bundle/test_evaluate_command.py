"""``stablequant evaluate``: word error rates of a manifest, with and without a language model."""

import json

import jiwer
import pytest
from checkout import PROJECT
from commands import run
from graphs import build
from language_models import arpa_of
from listing import write_as_parts
from recognising import Loaded


def test_evaluation_prints_the_word_error_rate(bundle, tmp_path):
    manifest = PROJECT / "tsv/demo-evaluation.tsv"
    few = manifest.read_text().splitlines()[:31]
    (tmp_path / "few.tsv").write_text("\n".join([str(PROJECT / few[0]), *few[1:]]) + "\n")
    done = run("evaluate", bundle, tmp_path / "few.tsv", "--out", tmp_path / "words.tsv")
    rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text().splitlines()[1:]]
    assert len(rows) == 30
    expected = 100 * jiwer.wer([row[1] for row in rows], [row[2] for row in rows])
    assert done.stdout.decode().splitlines()[-1] == f"Word Error Rate (WER): {expected:.2f}"
    assert "it/s" in done.stderr.decode()
    refused = run("evaluate", bundle, tmp_path / "few.tsv", "--out", tmp_path, expect=1)
    assert refused.stdout.decode().splitlines()[-1] == f"Word Error Rate (WER): {expected:.2f}"
    assert f"error: {tmp_path}: Is a directory" in refused.stderr.decode()
    assert "Traceback" not in refused.stderr.decode()


@pytest.mark.lm
def test_evaluation_says_whether_the_loss_survives_a_language_model(bundle, demo, demo_utterances, tmp_path):
    few = demo_utterances[:12]
    (tmp_path / "few.csv").write_text("\n".join(["path,text", *(f"{u.path},{u.transcript}" for u in few)]) + "\n")
    (tmp_path / "lm.arpa").write_text(arpa_of([u.transcript for u in few]))
    (tmp_path / "hot.txt").write_text(few[0].transcript.split()[0].lower() + "\n")
    loaded = Loaded.load(bundle.parent / "checkpoint")
    fp32 = build(loaded, bundle.parent / "fp32.onnx", tmp_path / "fp32", float_layers={m.layer for m in loaded.modules})

    def evaluated(*options: object) -> tuple[list[str], float]:
        """What is printed, and the WER of the hypotheses by another program."""
        done = run("evaluate", bundle, tmp_path / "few.csv", "--out", tmp_path / "words.tsv", *options)
        rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text().splitlines()[1:]]
        return done.stdout.decode().splitlines(), 100 * jiwer.wer([row[1] for row in rows], [row[2] for row in rows])

    _, alone = evaluated()
    printed, searched = evaluated("--lm", tmp_path / "lm.arpa", "--hot-words", tmp_path / "hot.txt", "--fp32", fp32)
    assert searched < alone, "the model of the very transcripts helps"
    assert printed[-1] == f"Word Error Rate (WER): {searched:.2f}"
    table = {line.split()[0]: line.split()[1:] for line in printed if line.startswith(("fp32", "quantized"))}
    assert table["quantized"] == [f"{alone:.2f}", f"{searched:.2f}"]
    costs = [
        float(with_int8) - float(before) for with_int8, before in zip(table["quantized"], table["fp32"], strict=True)
    ]
    assert printed[-3].startswith(f"quantization alone: {costs[0]:+.2f} points (")
    assert printed[-2].startswith(f"quantization with the language model: {costs[1]:+.2f} points (")
    refused = run("evaluate", bundle, tmp_path / "few.csv", "--lm", tmp_path / "lm.arpa", "--fp32", tmp_path, expect=1)
    assert f"error: {tmp_path}: not the folder of an engine" in refused.stderr.decode()
    spoken = run("transcribe", bundle, few[0].path, "--lm", tmp_path / "lm.arpa", "-f", "json")
    assert jiwer.wer(few[0].transcript, json.loads(spoken.stdout)["text"]) < 0.3
    assert all(0 < word["confidence"] <= 1 for word in json.loads(spoken.stdout)["words"])


def test_parts_of_a_recording_are_evaluated_as_files_are(bundle, demo_utterances, tmp_path):
    few = demo_utterances[:4]
    alone = [f"{u.path};{u.transcript}" for u in few]
    (tmp_path / "alone.csv").write_text("\n".join(["path;text", *alone]) + "\n")
    found = []
    for manifest in (write_as_parts(tmp_path, few), tmp_path / "alone.csv"):
        done = run("evaluate", bundle, manifest, "--out", tmp_path / "words.tsv")
        rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text().splitlines()[1:]]
        found.append((done.stdout.decode().splitlines()[-1], [row[1:] for row in rows]))
        assert len({row[0] for row in rows}) == 4
    assert found[0] == found[1]


def test_what_evaluation_leaves_out_is_told_in_a_few_lines(bundle, demo_utterances, tmp_path):
    rows = [f"{demo_utterances[0].path},HELLO", *(f"gone{number}.flac,HELLO, WORLD" for number in range(2000))]
    (tmp_path / "many.csv").write_text("\n".join(["path,text", *rows]) + "\n")
    lines = run("evaluate", bundle, tmp_path / "many.csv").stderr.decode().splitlines()
    told = [line for line in lines if line and "it/s" not in line]
    assert told[0] == f"{tmp_path / 'many.csv'}: 2000 of 2001 utterances rejected"
    assert told[2] == "  line 3: 'gone0.flac': the cell ' WORLD' is below no column; quote cells with a separator"
    assert len(told) == 8
