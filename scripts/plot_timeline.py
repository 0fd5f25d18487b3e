"""Plot when the jobs of the run worked."""

from pathlib import Path

from stablequant.jobs import job
from stablequant.plots import plot_timeline
from stablequant.timeline import read_jobs, without_pauses

with job(snakemake.log[0]):
    plot_timeline(without_pauses(read_jobs(Path(snakemake.log[0]).parent)), Path(snakemake.output[0]))
