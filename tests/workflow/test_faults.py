"""Faults of machines and of people between two runs: told in a sentence, and nothing finished is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from checkout import PROJECT
from projects import write_tiny_project
from running import planned, snakemake

from stablequant.workflow.terminal import KILLED

DAY = 24 * 3600.0
MOUNT = ["unshare", "--map-root-user", "--mount"]

needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*MOUNT, "true"], check=False).returncode != 0,
    reason="this machine has no mount namespaces for us (unshare --map-root-user --mount)",
)


def shell(folder: Path, script: str) -> str:
    """Run a script in ``folder`` where it may mount what only it sees; return all it printed."""
    command = [*MOUNT, "sh", "-ec", script.replace("SNAKEMAKE", f"{sys.executable} -m snakemake --cores 2")]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def results(folder: Path) -> dict[str, int]:
    """All files of the results with their times."""
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in (folder / "results").rglob("*") if f.is_file()}


FREE_SOME = "no space is left on the disk; free some, and run again; finished results stay"
FULL = """
mkdir kept; cp -a results/. kept; mount -t tmpfs -o size=60m tmpfs results; cp -a kept/. results
cd results/tiny; rm -r {outputs}; cd ../..
dd if=/dev/zero of=results/filler bs=16k 2>/dev/null || true
truncate --size=-64k results/filler
if SNAKEMAKE results/tiny/{target}; then exit 1; fi
rm results/filler
echo SPACE AGAIN
SNAKEMAKE results/tiny/{target}
"""


@needs_mounts
@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ("checkpoint layers.tsv", FREE_SOME),
        (
            "reference.json posteriors.safetensors histograms.safetensors prepared_histograms.safetensors",
            "MB are free, but the cached hidden values need .* free some, or lower 'disk_mb'",
        ),
        ("onnx/max.onnx", FREE_SOME),
        ("engines/openvino/max", "see whether the disk is full, and run again"),
    ],
    ids=["checkpoint", "reference", "graph", "engine"],
)
def test_a_full_disk_is_told_and_the_next_run_goes_on(project, outputs, sentence):
    printed = shell(project, FULL.format(outputs=outputs, target=outputs.split()[0]))
    failed, again = printed.split("SPACE AGAIN")
    assert re.search(sentence, failed), failed
    assert "Traceback" not in failed
    assert "Traceback" not in again


@needs_mounts
def test_a_read_only_folder_is_told(project):
    printed = shell(
        project,
        "mount --bind results results; mount -o remount,bind,ro results;"
        "if SNAKEMAKE --force results/tiny/onnx/max.onnx; then exit 1; fi; SNAKEMAKE --dry-run",
    )
    assert "project/results: read-only; make it writable, or run elsewhere" in printed
    assert "Nothing to be done" in printed


def test_two_runs_at_once_do_not_mix(project):
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--forcerun", "optimise_scales"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list((project / ".snakemake/locks").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # so that it changes nothing while the second one looks
    second = snakemake(project, "--forcerun", "optimise_scales", expect=1)
    first.send_signal(signal.SIGCONT)
    assert "cannot be locked" in second and "--unlock" in second
    printed, _ = first.communicate(timeout=600)
    assert first.returncode == 0, printed
    assert planned(project) == {}


def test_a_truncated_intermediate_is_named_and_made_again_from_what_is_left(project):
    histograms = project / "results/tiny/prepared_histograms.safetensors"
    graph = (project / "results/tiny/onnx/stablequant.onnx").read_bytes()
    histograms.write_bytes(histograms.read_bytes()[:1000])
    printed = snakemake(project, expect=1)
    assert "results/tiny/prepared_histograms.safetensors: damaged" in printed
    assert "delete it, and run again" in printed
    assert "Traceback" not in printed
    histograms.unlink()
    printed = snakemake(project)
    assert "rule import_checkpoint" not in printed and "rule export_onnx" not in printed
    assert (project / "results/tiny/onnx/stablequant.onnx").read_bytes() == graph


def make_older(file: Path, content: bytes) -> None:
    """Change a file as restoring it from a backup does."""
    file.write_bytes(content)
    os.utime(file, (time.time() - 10 * DAY,) * 2)


def test_a_checkpoint_that_was_replaced_by_an_older_one_is_noticed(project):
    file = project / "model/config.json"
    make_older(file, file.read_bytes() + b"\n")
    jobs = planned(project)
    assert jobs["import_checkpoint"] == 1
    assert {"recognise_reference", "export_onnx"} <= jobs.keys()


def test_audio_that_was_replaced_under_its_name_is_noticed(tmp_path):
    project = write_tiny_project(tmp_path / "project")
    listed = [f"results/tiny/utterances/{split}.tsv" for split in ("calibration", "evaluation")]
    snakemake(project, *listed)
    assert planned(project, *listed) == {}
    file = sorted((project / "speech/evaluation").rglob("*.flac"))[0]
    samples, rate = soundfile.read(file)
    soundfile.write(file, -samples, rate)
    make_older(file, file.read_bytes())
    assert planned(project, *listed) == {"list_utterances": 1}


def test_after_a_clock_was_set_back_nothing_is_made_anew_and_edits_are_noticed(project):
    for file in (project / "results").rglob("*"):
        moment = int(file.stat().st_mtime_ns + DAY * 1e9)
        os.utime(file, ns=(moment, moment))
    printed = snakemake(project)
    assert "ahead of now, as after a clock was set back; their times were set back" in printed
    assert "Nothing to be done" in printed
    assert planned(project) == {}
    transcripts = project / "tsv/evaluation.tsv"
    transcripts.write_text(transcripts.read_text() + "\n")
    assert planned(project)["list_utterances"] == 1


def test_a_missing_engine_library_is_named_with_what_installs_it(project, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/openvino.py").write_text(
        "raise ModuleNotFoundError('No module named openvino', name='openvino')"
    )
    before = results(project)
    target = "results/tiny/engines/openvino/max"
    environment = {"PYTHONPATH": str(tmp_path / "hidden")}
    printed = snakemake(project, "--force", target, expect=1, environment=environment)
    assert "openvino's engine needs the package openvino" in printed
    assert "run: pip install openvino" in printed
    assert "Traceback" not in printed
    assert {f: t for f, t in before.items() if target not in f}.items() <= results(project).items()
    snakemake(project, target)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{project!r}, {tests!r}]
from calibrating import calibrate
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.split import read_split
from stablequant.workflow.jobs import job

checkpoint, utterances, log = map(Path, sys.argv[1:])
recogniser = load_recogniser(checkpoint)
split = read_split(recogniser, utterances, 1, 0)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2_000_000, taken + 2_000_000))
with job(str(log)):
    calibrate(recogniser, split, log.parent)
"""


def test_out_of_memory_is_told(project, tmp_path):
    tiny = project / "results/tiny"
    script = LITTLE_MEMORY.format(project=str(PROJECT), tests=str(PROJECT / "tests"))
    command = [sys.executable, "-c", script, tiny / "checkpoint", tiny / "utterances/calibration.tsv", tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "out of memory; lower 'batch_mb'" in (tmp_path / "log").read_text()


def test_a_job_that_was_killed_is_explained(project):
    jobs = project / "stablequant/search/optimise_scales.py"
    jobs.write_text(jobs.read_text() + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    printed = snakemake(project, "results/tiny/scales/max.json", expect=1)
    assert KILLED in printed
