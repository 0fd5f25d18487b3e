"""When the jobs of a run worked, read from their logs."""

import re
from datetime import datetime
from pathlib import Path

import pandas as pd

DONE = re.compile(r"^(\S+ \S+) INFO done in ([\d.]+) s, threads: (\d+), peak memory: (\d+) MB$", re.MULTILINE)
COLUMNS = ["rule", "job", "end", "seconds", "work", "peak_mb"]


def read_jobs(logs: Path) -> pd.DataFrame:
    """One row per finished job, `COLUMNS`: ``end`` is a time, ``work`` in core seconds; start-up does not count.
    ``peak_mb`` is the most memory that the process took."""
    rows = []
    for file in sorted(logs.rglob("*.log")):
        found = DONE.search(file.read_text(encoding="utf-8"))
        if found:
            place = file.relative_to(logs).with_suffix("").parts
            end = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")
            seconds, threads, peak = float(found[2]), int(found[3]), int(found[4])
            rows.append([place[0], "/".join(place[1:]), end, seconds, seconds * threads, peak])
    return pd.DataFrame(rows, columns=COLUMNS)
