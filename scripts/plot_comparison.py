"""Plot what every method's engine loses."""

from pathlib import Path

from stablequant.files import read_table
from stablequant.jobs import job
from stablequant.plots import plot_comparison

with job(snakemake.log[0]):
    plot_comparison(read_table(Path(snakemake.input[0])), Path(snakemake.output[0]))
