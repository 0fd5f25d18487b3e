"""Where the time of a finished run went: ``python benchmarks/dag.py [MODEL] [--cores N]``.

Reads the jobs' logs. *Work* is what a job did after its start-up; what is left of the cores' time is start-up of
processes, Snakemake itself and cores that had nothing to do.
"""

from pathlib import Path

import pandas as pd
from tables import command_line

from stablequant.workflow.timeline import read_jobs, without_pauses


def main() -> None:
    parser = command_line(__doc__, out=None)
    parser.add_argument("model", nargs="?", default="demo", help="name of the model in results/ (demo)")
    parser.add_argument("--cores", type=int, default=2, help="cores the run was given (2)")
    arguments = parser.parse_args()
    jobs = without_pauses(read_jobs(Path("logs") / arguments.model))
    table = jobs.groupby("rule").agg(jobs=("work", "size"), work=("work", "sum"), peak_mb=("peak_mb", "max"))
    starts = jobs["end"] - pd.to_timedelta(jobs["seconds"], unit="s")
    total = (jobs["end"].max() - starts.min()).total_seconds()
    table["share"] = 100 * table["work"] / (arguments.cores * total)
    table = table.sort_values("work", ascending=False)
    table.loc["start-up, Snakemake, idle cores"] = [
        len(jobs),
        arguments.cores * total - table["work"].sum(),
        float("nan"),
        100 - table["share"].sum(),
    ]
    shown = table.rename(
        columns={"work": "core seconds", "share": "% of cores x time", "peak_mb": "peak memory of one, MB"}
    )
    print(shown.astype({"jobs": int}).round(1).to_string(na_rep=""))
    print(f"total: {total:.0f} s on {arguments.cores} cores")


if __name__ == "__main__":
    main()
