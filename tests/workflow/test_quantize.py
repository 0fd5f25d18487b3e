"""One command in an empty folder, by the package as it is installed: the workflow within it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from checkout import PROJECT
from hub import serving
from listing import write_speech
from projects import take_its_words_for_the_truth
from wav2vec2_files import FEW_LAYERS, write_tiny_checkpoint

from stablequant.storage.files import read_json, read_table
from stablequant.storage.locks import locked


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """What the wheel unpacks."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PROJECT / "stablequant", site / "stablequant", ignore=shutil.ignore_patterns("__pycache__"))
    built = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name, target in built["force-include"].items():
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copyfile
        (site / target).parent.mkdir(exist_ok=True)
        copy(PROJECT / name, site / target)
    return site


def stablequant(
    installed: Path, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """The installed command in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "stablequant", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)} | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_the_same_audio_for_both_splits_is_refused_before_anything_runs(tmp_path, installed, kind):
    write_tiny_checkpoint(tmp_path / "model")
    write_speech(tmp_path / "calibration", tmp_path / "evaluation.tsv", 2, "calibration")
    if kind == "folder":
        (tmp_path / "evaluation").symlink_to(tmp_path / "calibration")
    else:
        (tmp_path / "evaluation.tsv").rename(tmp_path / "evaluation")
    splits = ("--calibration", "calibration", "--evaluation", "evaluation")
    failed = stablequant(installed, tmp_path, "quantize", "model", *splits, "--out", "my-int8", "-n", "--cores", "2")
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    fault = "is the calibration data too" if kind == "folder" else "2 of its 2 audio files are in the calibration data"
    assert last.startswith("error: config key 'models: model: evaluation': ") and fault in last
    assert "engines must be judged on audio that they were not calibrated with" in last
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "my-int8/results").exists()


def test_a_second_run_in_one_folder_says_that_it_waits_and_each_line_is_shown_once(tmp_path, installed):
    write_tiny_checkpoint(tmp_path / "model")
    write_speech(tmp_path / "speech", tmp_path / "same.tsv", 2, "calibration")
    command = [sys.executable, "-m", "stablequant", "quantize", "model", "--out", "out", "--cores", "2"]
    command += ["--calibration", "same.tsv", "--evaluation", "same.tsv"]
    with locked(tmp_path / "out/run"):
        second = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}, stderr=subprocess.PIPE, text=True
        )
        said = [second.stderr.readline()]
    said += second.communicate(timeout=300)[1].splitlines(keepends=True)
    assert "out/run: in use by another process; waiting until it ends\n" in said
    assert said[-1].startswith("error: config key 'models: model: evaluation': "), "it went on"
    assert len(set(said)) == len(said) and not any("snakemake" in line for line in said), said


def with_its_words(checkpoint: Path, folder: Path) -> list[Path]:
    """Two splits with the words that a random recogniser hears; the evaluation split's audio."""
    for split in ("calibration", "evaluation"):
        files = write_speech(folder / "speech" / split, folder / f"{split}.tsv", 3, split)
        take_its_words_for_the_truth(checkpoint, folder / f"{split}.tsv")
    return files


def made(folder: Path) -> dict[str, int]:
    """All files of a run's results with their times."""
    return {str(f): f.stat().st_mtime_ns for f in (folder / "results").rglob("*") if f.is_file()}


def test_one_command_leads_from_the_hub_to_a_verdict_and_does_nothing_twice(tmp_path, installed):
    """Damaged audio is refused, then the plan is told, then all runs; the last lines are a command and a path."""
    source, out = tmp_path / "published", tmp_path / "my int8"
    group_norm = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
    write_tiny_checkpoint(source, "wav2vec2", **group_norm, **FEW_LAYERS | {"num_hidden_layers": 1})
    audio = with_its_words(source, tmp_path)
    options = ["--calibration", "calibration.tsv", "--evaluation", "evaluation.tsv", "--out", out.name]
    options += ["--methods", "fp32", "--acceptable-loss", "0.5", "--cores", "2"]
    with serving(source, "owner/tiny") as hub:

        def quantize(*more: str) -> subprocess.CompletedProcess:
            command = ("quantize", "owner/tiny", *options, *more)
            return stablequant(installed, tmp_path, *command, environment=hub.environment)

        whole = audio[1].read_bytes()
        audio[1].write_bytes(whole[:1000])
        failed = quantize("--dry-run")
        audio[1].write_bytes(whole)
        planned = quantize("--dry-run")
        results = out / "results/tiny"
        begun = (results / "speed.json").is_file(), (results / "reference.json").exists()
        done = quantize("--threshold", "1000")
        first = made(out)
        again = quantize("--threshold", "1000")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    last = failed.stderr.splitlines()[-1]
    damaged = f"evaluation.tsv, line 3: '{audio[1].relative_to(tmp_path / 'speech/evaluation')}': cut off: 0 of "
    assert damaged in last and "copy or download it again" in last and "; repair or remove them, or raise" in last

    assert (planned.returncode, begun) == (0, (True, False)), planned.stderr
    lines = planned.stdout.splitlines()
    assert any(line.startswith("layers        7; ") for line in lines)
    assert any(line.startswith("calibration   ") and "3 utterances" in line for line in lines)
    assert {"engines", "passes", "time", "memory", "disk"} <= {line.split()[0] for line in lines}
    assert any("400 words would do" in line for line in lines)
    assert lines[-1] == str(out)
    assert len((planned.stdout + planned.stderr).splitlines()) < 30

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len((done.stdout + done.stderr).splitlines()) < 100
    assert len([line for line in lines if line.startswith("openvino, ") and ": Word Error Rate (WER): " in line]) == 2
    stages = re.findall(r"^(.*): done, \d+ jobs?, .*; about .* left$", done.stderr, re.MULTILINE)
    assert "channels and weights" in stages, "how long it takes is known from the plan"
    place = next(number for number, line in enumerate(lines) if line.startswith("openvino: WER "))
    judged = next(line for line in lines[place:] if "0.5 points" in line).strip()
    heading = judged.partition(":")[0]
    assert heading in ("safe to deploy", "not safe to deploy", "not proven safe")
    assert f"**openvino: {heading}.**" in (results / "bundle/README.md").read_text()
    page = (results / "report.html").read_text()
    assert f"openvino: {heading}" in page and "0.5 points" in page
    assert lines[-1] == str(out)
    assert not any(line.startswith(("Complete log", "Elapsed")) for line in done.stderr.splitlines())
    assert lines[-3] == f"the bundle: {out.name}/bundle"
    words = shlex.split(lines[-2].removeprefix("try it: stablequant "))
    shortest = min(audio, key=lambda file: file.stat().st_size)
    tried = stablequant(installed, tmp_path, *words[:-1], str(shortest))
    assert words[-1] == "RECORDING" and tried.returncode == 0, tried.stderr
    heard = read_table(results / "evaluation/openvino/stablequant.tsv").set_index("utterance")["hypothesis"]
    assert tried.stdout.strip() == heard[shortest.stem]
    downloaded = read_json(results / "download.json")
    assert downloaded["source"] == f"owner/tiny@{hub.revision}"
    assert downloaded["bytes"] == sum(file.stat().st_size for file in source.iterdir() if file.suffix != ".txt")

    assert again.returncode == 0 and made(out) == first, "it was made again"
    assert again.stdout.splitlines()[-2:] == lines[-2:]
