"""One command in an empty folder, by the package as it is installed: the workflow within it."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from checkout import PROJECT
from listing import write_speech
from wav2vec2_files import write_tiny_checkpoint


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


def quantize(installed: Path, folder: Path, *options: str) -> subprocess.CompletedProcess:
    splits = ("--calibration", "calibration", "--evaluation", "evaluation")
    command = [sys.executable, "-m", "stablequant", "quantize", "model", *splits, "--out", "my-int8", *options]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_the_same_audio_for_both_splits_is_refused_before_anything_runs(tmp_path, installed, kind):
    write_tiny_checkpoint(tmp_path / "model")
    write_speech(tmp_path / "calibration", tmp_path / "evaluation.tsv", 2, "calibration")
    if kind == "folder":
        (tmp_path / "evaluation").symlink_to(tmp_path / "calibration")
    else:
        (tmp_path / "evaluation.tsv").rename(tmp_path / "evaluation")
    failed = quantize(installed, tmp_path, "-n", "--cores", "2")
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    fault = "is the calibration data too" if kind == "folder" else "2 of its 2 audio files are in the calibration data"
    assert last.startswith("error: config key 'models: model: evaluation': ") and fault in last
    assert "engines must be judged on audio that they were not calibrated with" in last
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "my-int8/results").exists()


def test_a_dry_run_tells_what_a_run_will_take_and_a_failure_ends_with_its_cause(tmp_path, installed):
    write_tiny_checkpoint(tmp_path / "model")
    audio = [
        write_speech(tmp_path / split, tmp_path / "unused.tsv", 2, split) for split in ("calibration", "evaluation")
    ]
    whole = audio[1][0].read_bytes()
    audio[1][0].write_bytes(whole[:1000])
    failed = quantize(installed, tmp_path, "--dry-run", "--cores", "2")
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert f"{audio[1][0]}: cut off: 0 of " in last and "copy or download it again; repair or remove it" in last
    assert "Traceback" not in failed.stderr
    audio[1][0].write_bytes(whole)

    done = quantize(installed, tmp_path, "--dry-run", "--cores", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("layers        12; ") for line in lines)
    assert any(line.startswith("calibration   ") and "2 utterances" in line for line in lines)
    assert {"engines", "passes", "time", "memory", "disk"} <= {line.split()[0] for line in lines}
    assert any("400 words would do" in line for line in lines)
    assert lines[-1] == str(tmp_path / "my-int8")
    results = tmp_path / "my-int8/results/model"
    assert (results / "speed.json").is_file() and not (results / "reference.json").exists()
    assert len((done.stdout + done.stderr).splitlines()) < 30
