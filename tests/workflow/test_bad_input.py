"""Each fault stops the run with one clear error before any long work starts."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from json_files import edit
from listing import write_speech
from projects import copy_project
from running import own_logs, snakemake
from wav2vec2_files import write_tiny_checkpoint

LONG_WORK = ("rule recognise_reference", "rule probe_layer")


@pytest.fixture
def project(tmp_path) -> Path:
    folder = copy_project(tmp_path)
    write_tiny_checkpoint(folder / "model")
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / "tsv" / f"{split}.tsv", 3, split)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["models"] = {
        "tiny": {"checkpoint": "model", "calibration": "tsv/calibration.tsv", "evaluation": "tsv/evaluation.tsv"}
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def edit_config(folder: Path, old: str, new: str) -> None:
    text = (folder / "config.yaml").read_text()
    assert old in text
    (folder / "config.yaml").write_text(text.replace(old, new))


def fails(folder: Path) -> str:
    printed = snakemake(folder, expect=1)
    assert not [work for work in LONG_WORK if work in printed], printed
    return printed


def test_a_typo_in_the_config(project):
    edit_config(project, "threshold:", "treshold:")
    printed = fails(project)
    terminal = printed.removesuffix(own_logs(project)[-1].read_text())
    assert terminal.splitlines()[-1] == "config key 'treshold': there is no such key; did you mean 'threshold'?"


def test_a_root_that_does_not_exist(project):
    (project / "tsv/evaluation.tsv").write_text("/no/such/root\na.flac\t16000\n")
    printed = fails(project)
    assert "tsv/evaluation.tsv, line 1: the root '/no/such/root' is not a directory; correct it" in printed


def test_an_empty_split(project):
    (project / "tsv/calibration.tsv").write_text(f"{project / 'speech/calibration'}\n")
    assert "tsv/calibration.tsv: the split is empty; list at least one utterance" in fails(project)


def test_a_checkpoint_that_does_not_exist(project):
    edit_config(project, "checkpoint: model", "checkpoint: modle")
    printed = fails(project)
    assert (
        "config key 'models: tiny: checkpoint': 'modle' is neither a file nor a folder nor owner/name on the hub"
        in printed
    )
    assert "Traceback" not in printed


def test_a_folder_that_holds_no_checkpoint(project):
    (project / "model/config.json").unlink()
    assert "model/config.json: the file does not exist; name the folder of a checkpoint" in fails(project)


def test_a_checkpoint_of_a_kind_that_no_family_takes(project):
    edit(project / "model/config.json", model_type="bert")
    printed = fails(project)
    assert "model/config.json: HubertForCTC (bert) is not supported; take a checkpoint of one of " in printed
    assert "hubert" in printed


def test_a_base_model(project):
    edit(project / "model/config.json", architectures=["HubertModel"])
    printed = snakemake(project, "-n", expect=1)
    assert "model/config.json: HubertModel (hubert) has no head that writes text" in printed
    assert "Traceback" not in printed


def first_audio(folder: Path, split: str) -> Path:
    return sorted((folder / "speech" / split).rglob("*.flac"))[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_transcript(path: Path) -> None:
    for file in path.parent.glob("*.trans.txt"):
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "the file does not exist"),
        (truncate, "cut off: .* are there"),
        (drop_transcript, "no transcript for"),
    ],
)
def test_unusable_audio_in_the_evaluation_split_stops_the_run_early(project, damage, reason):
    audio = first_audio(project, "evaluation")
    damage(audio)
    printed = fails(project)
    relative = audio.relative_to(project / "speech/evaluation")
    assert f"'{relative}': " in printed
    assert "tsv/evaluation.tsv, line 2" in printed
    assert re.search(reason, printed)
    assert "or raise 'max_rejected' in the config" in printed
    rejected = (project / "results/tiny/utterances/evaluation.rejected.tsv").read_text().splitlines()
    assert rejected[0] == "line\tpath\treason"
    assert rejected[1].startswith(f"2\t{relative}\t")


def test_a_split_that_judges_itself_is_refused_before_long_work(project):
    """Copies of the audio too: they are known by their content."""
    shutil.copytree(project / "speech/calibration", project / "speech/copies")
    text = (project / "tsv/calibration.tsv").read_text()
    (project / "tsv/evaluation.tsv").write_text(text.replace("speech/calibration", "speech/copies"))
    printed = fails(project)
    assert "the calibration split holds the same audio" in printed
    assert "(3 of 3 evaluation utterances are such)" in printed


def test_a_tolerated_share_is_listed_and_counted(project):
    first_audio(project, "evaluation").unlink()
    edit_config(project, "max_rejected: 0", "max_rejected: 0.4")
    snakemake(project, "results/tiny/utterances/evaluation.tsv")
    log = (project / "logs/tiny/list_utterances/evaluation.log").read_text()
    assert "2 utterances, 1 rejected" in log
    assert "evaluation.tsv: 1 of 3 utterances rejected\n  1 times: the file does not exist\n  line 2: '" in log
    assert len((project / "results/tiny/utterances/evaluation.tsv").read_text().splitlines()) == 3


def test_a_tolerated_share_of_a_folder_is_listed_and_counted(project):
    truncate(first_audio(project, "evaluation"))
    edit_config(project, "evaluation: tsv/evaluation.tsv", "evaluation: speech/evaluation")
    assert "cut off: " in fails(project)
    edit_config(project, "max_rejected: 0", "max_rejected: 0.4")
    snakemake(project, "results/tiny/utterances/evaluation.tsv")
    assert len((project / "results/tiny/utterances/evaluation.tsv").read_text().splitlines()) == 3
    (rejected,) = (project / "results/tiny/utterances/evaluation.rejected.tsv").read_text().splitlines()[1:]
    assert "\tcut off: " in rejected


def test_a_reference_whose_words_do_not_fit_the_transcripts_is_refused(project):
    """Random weights; the search would take every layer for harmless."""
    printed = snakemake(project, "results/tiny/sensitivity.tsv", expect=1)
    assert re.search(
        r"calibration split: fp32 has a WER of \d+\.\d+ %, more than 'max_reference_wer' \(50 %\): ", printed
    )
    assert printed.count("hypothesis: ") >= 3
    assert "rule probe_layer" not in printed
    assert "Traceback" not in printed
    assert not (project / "results/tiny/reference.json").exists()
