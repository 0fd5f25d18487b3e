"""Where the time of a finished run went: ``python benchmarks/dag.py [MODEL] [--cores N]``.

Reads the jobs' logs. *Work* is what a job did after its start-up; what is left of the cores' time is start-up of
processes, Snakemake itself and cores that had nothing to do.
"""

import argparse
import re
from datetime import datetime
from pathlib import Path

import pandas as pd

DONE = re.compile(r"^(\S+ \S+) INFO done in ([\d.]+) s, threads: (\d+)$", re.MULTILINE)


def read_jobs(logs: Path) -> pd.DataFrame:
    """One row per job: ``rule``, ``end`` (time), ``work`` (core seconds)."""
    rows = []
    for file in logs.rglob("*.log"):
        found = DONE.search(file.read_text(encoding="utf-8"))
        if found:
            rule = file.relative_to(logs).parts[0].removesuffix(".log")
            end = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")
            rows.append([rule, end, float(found[2]), float(found[2]) * int(found[3])])
    return pd.DataFrame(rows, columns=["rule", "end", "seconds", "work"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo", help="name of the model in results/ (demo)")
    parser.add_argument("--cores", type=int, default=2, help="cores the run was given (2)")
    arguments = parser.parse_args()
    jobs = read_jobs(Path("logs") / arguments.model)
    table = jobs.groupby("rule").agg(jobs=("work", "size"), work=("work", "sum"))
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    total = (jobs["end"].max() - starts.min()).total_seconds()
    table["share"] = 100 * table["work"] / (arguments.cores * total)
    table = table.sort_values("work", ascending=False)
    table.loc["start-up, Snakemake, idle cores"] = [
        len(jobs),
        arguments.cores * total - table["work"].sum(),
        100 - table["share"].sum(),
    ]
    shown = table.rename(columns={"work": "core seconds", "share": "% of cores x time"})
    print(shown.astype({"jobs": int}).round(1).to_string())
    print(f"total: {total:.0f} s on {arguments.cores} cores")


if __name__ == "__main__":
    main()
