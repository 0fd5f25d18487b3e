"""When jobs started and ended, read from their logs, each of which tells of the last time the job ran."""

import re
from datetime import datetime
from pathlib import Path

import pandas as pd

DONE = re.compile(r"^(\S+ \S+) INFO done in ([\d.]+) s, threads: (\d+), peak memory: (\d+) MB$", re.MULTILINE)
PAUSE = pd.Timedelta(minutes=10)
COLUMNS = ["rule", "job", "end", "seconds", "work", "peak_mb"]


def read_jobs(logs: Path) -> pd.DataFrame:
    """One row per finished job with the columns `COLUMNS`.

    ``end`` is a time, ``seconds`` the duration without start-up, ``work`` the duration times the threads in core
    seconds, and ``peak_mb`` the peak memory of the process in megabytes. A log that disappears while the logs are read
    is skipped: Snakemake removes the log of a job when it starts the job again.
    """
    rows = []
    for file in sorted(logs.rglob("*.log")):
        try:
            found = DONE.search(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        if found:
            place = file.relative_to(logs).with_suffix("").parts
            end = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")
            seconds, threads, peak = float(found[2]), int(found[3]), int(found[4])
            rows.append([place[0], "/".join(place[1:]), end, seconds, seconds * threads, peak])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"end": "datetime64[us]", "seconds": float})


def until(jobs: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The jobs that ended before, or together with, the last job of ``rule``."""
    ended: pd.DataFrame = jobs[jobs["end"] <= jobs.loc[jobs["rule"] == rule, "end"].max()]
    return ended


def without_pauses(jobs: pd.DataFrame) -> pd.DataFrame:
    """``jobs`` with shorter pauses: jobs after a long pause are moved earlier, so that no pause exceeds `PAUSE`."""
    jobs = jobs.sort_values("end", kind="stable", ignore_index=True)
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    begun = starts[::-1].cummin()[::-1]  # the earliest start among this job and all jobs that ended later
    idle = (begun - jobs["end"].shift()).fillna(pd.Timedelta(0))
    jobs["end"] -= (idle - PAUSE).where(idle > PAUSE, pd.Timedelta(0)).cumsum()
    return jobs
