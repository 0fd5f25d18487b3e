"""Plot when the jobs of all runs so far worked, up to the comparison of the engines."""

from pathlib import Path

from stablequant.report.plot_timeline import plot_timeline
from stablequant.workflow.jobs import job
from stablequant.workflow.timeline import read_jobs, until, without_pauses

with job(snakemake.log[0]):
    jobs = until(read_jobs(Path(snakemake.log[0]).parent), "compare")
    plot_timeline(without_pauses(jobs), Path(snakemake.output[0]))
