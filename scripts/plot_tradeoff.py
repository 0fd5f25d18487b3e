"""Plot WER against size and speed of every engine."""

from pathlib import Path

from stablequant.files import read_table
from stablequant.jobs import job
from stablequant.plots import plot_tradeoff

with job(snakemake.log[0]):
    plot_tradeoff(read_table(Path(snakemake.input[0])), Path(snakemake.output[0]))
