"""Snakemake run in a project's folder: what it printed, what it plans, and the whole DAG under watch."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from projects import write_tiny_project
from watching import Watched, Watcher, without_network

MEMORY_MB = 4500  # for all jobs of the tiny project's DAG together


def snakemake(
    folder: Path, *arguments: str, expect: int = 0, environment: dict[str, str] | None = None, minutes: float = 20
) -> str:
    """Run snakemake in ``folder``; a profile for a cluster is used as it is. Return all it printed, and its own log."""
    cores = [] if "--workflow-profile" in arguments else ["--cores", "2"]
    command = [sys.executable, "-m", "snakemake", *cores, *arguments]
    before = own_logs(folder)
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == expect, printed
    return printed + "".join(file.read_text() for file in own_logs(folder) if file not in before)


def own_logs(folder: Path) -> list[Path]:
    """Snakemake's logs of the runs in ``folder``, which tell each job; the terminal shows stages."""
    return sorted((folder / ".snakemake/log").glob("*.log"))


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule that a run would start."""
    printed = snakemake(folder, "--dry-run", *arguments)
    table = re.search(r"job +count\n-+ +-+\n(.*?)\n\n", printed, re.DOTALL)
    if table is None:
        assert "Nothing to be done" in printed, printed
        return {}
    rows = dict(line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in rows.items() if rule not in ("total", "all")}


@dataclass(frozen=True)
class Run:
    """The whole DAG on a tiny random recogniser, ``isolated`` from any network where this machine can do that."""

    folder: Path
    printed: str
    watched: Watched
    isolated: bool


def run_whole(folder: Path) -> Run:
    """Write a tiny project to ``folder`` and run its whole DAG."""
    write_tiny_project(folder)
    isolate = without_network()
    command = [*isolate, sys.executable, "-m", "snakemake", "--cores", "2", "--resources", f"mem_mb={MEMORY_MB}"]
    with (folder / "printed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        with Watcher(process.pid) as watched:
            code = process.wait(timeout=1200)
    printed = (folder / "printed.log").read_text()
    assert code == 0, printed
    printed += own_logs(folder)[-1].read_text()
    return Run(folder, printed, watched, bool(isolate))
