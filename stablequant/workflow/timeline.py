"""When the jobs of a run worked, read from their logs."""

import re
from datetime import datetime
from pathlib import Path

import pandas as pd

DONE = re.compile(r"^(\S+ \S+) INFO done in ([\d.]+) s, threads: (\d+), peak memory: (\d+) MB$", re.MULTILINE)
PAUSE = pd.Timedelta(minutes=10)
COLUMNS = ["rule", "job", "end", "seconds", "work", "peak_mb"]


def read_jobs(logs: Path) -> pd.DataFrame:
    """One row per finished job, `COLUMNS`: ``end`` is a time, ``work`` in core seconds; start-up does not count.
    ``peak_mb`` is the most memory that the process took. A log that goes while they are read counts as unfinished:
    Snakemake removes the log of a job that it starts."""
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
    """Those of ``jobs`` that had ended when the last of ``rule`` ended."""
    return jobs[jobs["end"] <= jobs.loc[jobs["rule"] == rule, "end"].max()]


def without_pauses(jobs: pd.DataFrame) -> pd.DataFrame:
    """``jobs``, those after a pause moved nearer, so that none is longer than `PAUSE`."""
    jobs = jobs.sort_values("end", kind="stable", ignore_index=True)
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    begun = starts[::-1].cummin()[::-1]  # of this job and all that ended later
    idle = (begun - jobs["end"].shift()).fillna(pd.Timedelta(0))
    jobs["end"] -= (idle - PAUSE).where(idle > PAUSE, pd.Timedelta(0)).cumsum()
    return jobs
