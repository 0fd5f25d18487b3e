"""SIGKILL at random moments of all stages: the next run goes on, repeats nothing finished, and ends the same."""

import base64
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import write_tiny_project
from running import snakemake

KILLS = int(os.getenv("STABLEQUANT_KILLS", "30"))
SEED = 0
HAND = 5  # kills of one project at most; the next ones are of a new one
DELAYS = (0.0, 2.0)  # seconds between a stage's first line in its log and the kill
FINISHED = (
    *("checkpoint/*", "equalisation.safetensors", "channel_scales.safetensors", "weights.safetensors"),
    *("reference.json", "*histograms.safetensors"),
    *(
        "sensitivity/*.json",
        "percentiles/*.json",
        "combination.json",
        "scales/*.json",
        "onnx/*.onnx",
        "engines/*/*/model.*",
    ),
    "evaluation/*/*.json",
)  # what took long and is not to be made again
COMPARED = (
    *("reference.json", "sensitivity/*.json", "sensitivity.tsv", "percentiles/*.json", "percentiles.tsv"),
    *("combination.*", "scales/*.json", "onnx/*.onnx", "engines/*/*/model.*", "evaluation/*/*.tsv", "hypotheses.tsv"),
    *(
        "weights.safetensors",
        "histograms.safetensors",
        "prepared_histograms.safetensors",
        "plots/sensitivity.svg",
        "plots/histograms.svg",
    ),
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
    """Results that Snakemake takes for complete, with their times."""
    marked = {base64.b64decode(f.name).decode() for f in (folder / ".snakemake/incomplete").glob("*") if f.is_file()}
    names = [file.relative_to(folder) for pattern in FINISHED for file in folder.glob(f"results/tiny/{pattern}")]
    whole = [name for name in names if marked.isdisjoint(map(str, (name, *name.parents)))]
    return {folder / name: (folder / name).stat().st_mtime_ns for name in whole}


def started(folder: Path) -> dict[str, float]:
    """Every stage in the order in which they began, with the time of its newest log."""
    logs = sorted((folder / "logs/tiny").rglob("*.log"), key=lambda file: file.stat().st_mtime)
    return {log.relative_to(folder / "logs/tiny").parts[0].removesuffix(".log"): log.stat().st_mtime for log in logs}


def hands(stages: list[str], draw: random.Random) -> Iterator[list[str]]:
    """Without end, some of the ``stages`` in their order, each as often as any other."""
    dealt: list[str] = []
    while True:
        if len(dealt) < HAND:
            dealt += draw.sample(stages, len(stages))
        hand, dealt = dealt[:HAND], dealt[HAND:]
        yield sorted(set(hand), key=stages.index)


def run_until(folder: Path, stage: str, delay: float, cores: int) -> subprocess.Popen:
    """A run in which a job of ``stage`` began ``delay`` seconds ago, or that has ended."""
    began = time.time()
    process = start(folder, cores)
    while process.poll() is None and started(folder).get(stage, 0) < began:
        time.sleep(0.05)
    time.sleep(delay)
    return process


def assert_not_repeated(done: dict[Path, int]) -> None:
    for file, moment in done.items():
        assert file.stat().st_mtime_ns == moment, f"{file.name} was made twice"


def assert_same(folder: Path, finished: Path) -> None:
    """The results of both projects have the same bytes, but for the folder's own name, and nothing is left over."""
    compared = 0
    for pattern in COMPARED:
        for expected in sorted((finished / "results/tiny").glob(pattern)):
            name = expected.relative_to(finished)
            content = expected.read_bytes().replace(str(finished).encode(), b"")
            assert (folder / name).read_bytes().replace(str(folder).encode(), b"") == content, name
            compared += 1
    assert compared > 30
    lasting = {".snakemake_timestamp", ".hidden_values.lock"}
    left = {file.name for file in (folder / "results").rglob(".*")} - lasting
    assert not left, "temporary files were left"


def test_killed_at_random_moments_it_goes_on_and_ends_the_same(finished, tmp_path):
    draw = random.Random(SEED)
    kills: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for number, hand in enumerate(hands(list(started(finished)), draw)):
        folder = write_tiny_project(tmp_path / f"project{number}")
        done: dict[Path, int] = {}
        for target in hand[: KILLS - kills.total()]:
            process = run_until(folder, target, draw.uniform(*DELAYS), draw.choice([1, 2]))
            if process.poll() is not None:  # the run was done before
                assert process.wait() == 0, (folder / "printed.log").read_text()[-3000:]
                break
            kills[kill(process, draw.choice(["job", "snakemake", "all"]))] += 1
            stages[max(newest := started(folder), key=newest.get)] += 1
            wait_for_orphans(process.pid)
            snakemake(folder, "--unlock")
            assert_not_repeated(done)
            done |= finished_jobs(folder)
        snakemake(folder)
        assert_not_repeated(done)
        assert_same(folder, finished)
        if kills.total() == KILLS:
            break
    print(f"{dict(kills)} at {dict(stages)}")
    assert len(stages) >= min(10, KILLS // 2), "the kills hit few stages"
