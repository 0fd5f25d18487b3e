"""SIGKILL at random moments of the whole DAG: the next run goes on, repeats nothing finished, and ends the same."""

import base64
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import snakemake, write_tiny_project

KILLS = int(os.getenv("STABLEQUANT_KILLS", "30"))
SEED = 0
MOMENTS = (4.0, 14.0)  # seconds after the start of a run; the workflow itself needs two or three to begin
COMPARED = (
    *("reference.json", "sensitivity/*.json", "sensitivity.tsv", "percentiles/*.json", "percentiles.tsv"),
    *("combination.*", "scales/*.json", "onnx/*.onnx", "engines/*/*/model.*", "evaluation/*/*.tsv", "hypotheses.tsv"),
    *("histograms.safetensors", "prepared_histograms.safetensors", "plots/sensitivity.svg", "plots/histograms.svg"),
)


pytestmark = pytest.mark.kills


def start(folder: Path, cores: int) -> subprocess.Popen:
    """A run in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all"]
    with (folder / "printed.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def jobs_of(group: int) -> list[int]:
    """Processes of the group that run a rule's script."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            if os.getpgid(int(entry.name)) == group and b".snakemake/scripts/" in words:
                found.append(int(entry.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


def kill(process: subprocess.Popen, what: str) -> str:
    """Kill a job, Snakemake or all; return what was killed."""
    jobs = jobs_of(process.pid)
    if what == "job" and jobs:
        os.kill(jobs[-1], signal.SIGKILL)
        process.wait(timeout=120)
    elif what == "snakemake":
        process.kill()
        process.wait()
    else:
        what = "all"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return what


def wait_for_orphans(group: int) -> None:
    """Jobs that outlive their Snakemake end by themselves."""
    deadline = time.monotonic() + 120
    while jobs_of(group) and time.monotonic() < deadline:
        time.sleep(0.2)


def finished_jobs(folder: Path) -> dict[Path, int]:
    """Results of probes and searches that Snakemake takes for complete, with their times."""
    marked = {base64.b64decode(f.name).decode() for f in (folder / ".snakemake/incomplete").glob("*") if f.is_file()}
    files = [*folder.glob("results/tiny/sensitivity/*.json"), *folder.glob("results/tiny/percentiles/*.json")]
    return {file: file.stat().st_mtime_ns for file in files if str(file.relative_to(folder)) not in marked}


def stage(folder: Path) -> str:
    """The newest job's rule, by its log."""
    logs = sorted((folder / "logs").rglob("*.log"), key=lambda file: file.stat().st_mtime)
    return logs[-1].relative_to(folder / "logs/tiny").parts[0].removesuffix(".log") if logs else "none"


def test_killed_at_random_moments_it_goes_on_and_ends_the_same(finished, tmp_path):
    draw = random.Random(SEED)
    kills: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    folder = write_tiny_project(tmp_path / "project0")
    done: dict[Path, int] = {}
    runs = 0
    while kills.total() < KILLS:
        process = start(folder, draw.choice([1, 2]))
        try:
            code = process.wait(timeout=draw.uniform(*MOMENTS))
        except subprocess.TimeoutExpired:
            kills[kill(process, draw.choice(["job", "snakemake", "all"]))] += 1
            stages[stage(folder)] += 1
            wait_for_orphans(process.pid)
            snakemake(folder, "--unlock")
            for file, moment in done.items():
                assert file.stat().st_mtime_ns == moment, f"{file.name} was made twice"
            done |= finished_jobs(folder)
            continue
        assert code == 0, (folder / "printed.log").read_text()[-3000:]
        runs += 1
        folder, done = write_tiny_project(tmp_path / f"project{runs}"), {}
    snakemake(folder)
    for file, moment in done.items():
        assert file.stat().st_mtime_ns == moment, f"{file.name} was made twice"
    compared = 0
    for pattern in COMPARED:
        for expected in sorted((finished / "results/tiny").glob(pattern)):
            name = expected.relative_to(finished)
            content = expected.read_bytes().replace(str(finished).encode(), b"")
            assert (folder / name).read_bytes().replace(str(folder).encode(), b"") == content, name
            compared += 1
    assert compared > 30
    print(f"{dict(kills)} at {dict(stages)}")
    assert len(stages) >= min(5, KILLS // 3), "the kills hit few stages"
    left = {file.name for file in (folder / "results").rglob(".*")} - {".snakemake_timestamp"}  # Snakemake's own
    assert not left, "temporary files were left"
