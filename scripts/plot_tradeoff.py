"""Plot WER against size and speed of every engine."""

from pathlib import Path

from stablequant.report.compare import read_comparison
from stablequant.report.plot_tradeoff import plot_tradeoff
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    plot_tradeoff(read_comparison(Path(snakemake.input[0])), Path(snakemake.output[0]))
