"""Recognisers and corpora of every kind, side by side in one DAG, by the commands that users type."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkout import PROJECT
from fairseq_files import fairseq_state, save, write_dictionary
from listing import write_speech
from projects import configure, copy_project
from running import planned, snakemake
from wav2vec2_files import FEW_LAYERS, write_tiny_checkpoint

from stablequant.corpora.list_utterances import read_transcripts

PRESETS = sorted((PROJECT / "presets").glob("*.yaml"))
FAST = {
    "methods": ["fp32", "stablequant"],
    "engines": ["openvino"],
    "percentiles": [99.9, 99.0],
    "probe": {"layers_per_job": 12},
    "max_reference_wer": None,  # of random recognisers
}


def write_librispeech(folder: Path, utterances: int) -> Path:
    for part, split in (("dev-clean", "calibration"), ("test-clean", "evaluation")):
        write_speech(folder / part, folder / f"{split}-unused.tsv", utterances, split)
    return folder


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_each_preset_is_one_command(tmp_path, preset):
    folder = copy_project(tmp_path / "project")
    write_librispeech(tmp_path / "LibriSpeech", 1)
    command = ["--dry-run", "--configfile", f"presets/{preset.name}"]
    printed = snakemake(folder, *command, "--config", f"librispeech={tmp_path / 'LibriSpeech'}")
    (name,) = {line.split("/")[1] for line in printed.splitlines() if "comparison.tsv" in line and "results/" in line}
    assert name in preset.stem, "a preset runs its own model and no other"
    settings = yaml.safe_load(preset.read_text())["models"][name]
    assert set(settings) == {"checkpoint", "calibration", "evaluation"}, "a checkpoint on the hub needs but its name"
    assert "rule download_checkpoint:" in printed and "checkpoint import_checkpoint:" in printed
    printed = snakemake(folder, *command, expect=1)
    assert "config key 'librispeech': the folder 'resources/LibriSpeech' does not exist" in printed
    assert "--config librispeech=/data/LibriSpeech" in printed


def test_replaced_audio_and_transcripts_of_a_folder_are_noticed(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_tiny_checkpoint(folder / "model")
    librispeech = write_librispeech(tmp_path / "LibriSpeech", 2)
    splits = {"calibration": str(librispeech / "dev-clean"), "evaluation": str(librispeech / "test-clean")}
    configure(folder, **FAST, models={"tiny": {"checkpoint": "model", **splits}})
    listed = [f"results/tiny/utterances/{split}.tsv" for split in splits]
    snakemake(folder, *listed)
    assert "list_utterances" not in planned(folder)
    for pattern in ("*.flac", "*.trans.txt"):
        os.utime(next((librispeech / "test-clean").rglob(pattern)), (1, 1))  # older than before
        assert planned(folder)["list_utterances"] == 1, pattern
        snakemake(folder, *listed)


def test_several_models_and_corpora_side_by_side(tmp_path):
    """A fairseq file with a folder and a table, a conformer with tables only, in one run, from an overlay."""
    folder = copy_project(tmp_path / "project")
    save(fairseq_state("wav2vec2"), folder / "models/wav2vec_tiny.pt", zipped=False)
    write_dictionary(folder / "models/dict.ltr.txt")
    write_tiny_checkpoint(folder / "models/conformer", "conformer-relative", **FEW_LAYERS)
    calibration = write_speech(folder / "corpus/calibration", folder / "tsv/fairseq.tsv", 3)
    evaluation = write_speech(folder / "corpus/evaluation", folder / "unused.tsv", 3, "evaluation")
    pairs = [(file.relative_to(folder), read_transcripts(file.parent)[file.stem]) for file in evaluation]
    rows = [json.dumps({"audio_filepath": str(folder / file), "text": text}) for file, text in pairs]
    (folder / "nemo.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "corpus.csv").write_text("\n".join(["path,sentence", *(f"{file},{text}" for file, text in pairs)]) + "\n")
    (folder / "tsv/fairseq.wrd").write_text(
        "".join(read_transcripts(file.parent)[file.stem] + "\n" for file in calibration)
    )
    models = {
        "fairseq": {
            "checkpoint": "models/wav2vec_tiny.pt",
            "calibration": "{librispeech}/calibration",
            "evaluation": "nemo.jsonl",
        },
        "conformer": {
            "checkpoint": "models/conformer",
            "calibration": "tsv/fairseq.tsv",
            "evaluation": "corpus.csv",
        },
    }
    configure(folder, **FAST)
    (folder / "mine.yaml").write_text(yaml.safe_dump({"models": {"demo": None, **models}}))
    overlay = ["--configfile", "mine.yaml", "--config", f"librispeech={folder / 'corpus'}", "threshold=1000"]
    snakemake(folder, *overlay)
    assert {path.name for path in (folder / "results").iterdir()} == {*models}
    for model in models:
        comparison = pd.read_csv(folder / f"results/{model}/comparison.tsv", sep="\t")
        assert comparison["status"].tolist() == ["evaluated", "evaluated"]
        layers = pd.read_csv(folder / f"results/{model}/sensitivity.tsv", sep="\t")["layer"].tolist()
        assert ("positional" in layers) == (model == "fairseq")
        for split in ("calibration", "evaluation"):
            assert len(pd.read_csv(folder / f"results/{model}/utterances/{split}.tsv", sep="\t")) == 3
    assert "Nothing to be done" in snakemake(folder, *overlay)
    (folder / "tsv/fairseq.wrd").write_text("ANOTHER WORD\n" * 3)
    printed = snakemake(folder, "--dry-run", *overlay)
    assert "results/conformer/utterances/calibration.tsv" in printed
    assert "wildcards: model=conformer" in printed
    assert "wildcards: model=fairseq" not in printed, "another model's results are touched"


def test_librispeech_is_only_fetched_when_asked_for_and_three_times_retried(tmp_path):
    folder = copy_project(tmp_path / "project")
    write_tiny_checkpoint(folder / "model")
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / f"tsv/{split}.tsv", 1, split)
    splits = {"calibration": "tsv/calibration.tsv", "evaluation": "tsv/evaluation.tsv"}
    configure(folder, models={"tiny": {"checkpoint": "model", **splits}}, librispeech_mirror="http://127.0.0.1:9")
    assert "download_librispeech" not in snakemake(folder, "--dry-run")
    printed = snakemake(folder, "librispeech", expect=1)
    assert printed.count("http://127.0.0.1:9/dev-clean.tar.gz: it cannot be downloaded") >= 4
    assert "set 'librispeech_mirror' in the config" in printed
    assert not list((folder / "resources").rglob("dev-clean*"))
