"""When the jobs of a run worked, read from their logs."""

import re
from datetime import datetime
from pathlib import Path

import pandas as pd

DONE = re.compile(r"^(\S+ \S+) INFO done in ([\d.]+) s, threads: (\d+)$", re.MULTILINE)
COLUMNS = ["rule", "job", "end", "seconds", "work"]


def read_jobs(logs: Path) -> pd.DataFrame:
    """One row per finished job, `COLUMNS`: ``end`` is a time, ``work`` in core seconds; start-up does not count."""
    rows = []
    for file in sorted(logs.rglob("*.log")):
        found = DONE.search(file.read_text(encoding="utf-8"))
        if found:
            place = file.relative_to(logs).with_suffix("").parts
            end = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")
            rows.append([place[0], "/".join(place[1:]), end, float(found[2]), float(found[2]) * int(found[3])])
    return pd.DataFrame(rows, columns=COLUMNS)
