"""Plot the searches of all selected layers."""

from pathlib import Path

from stablequant.files import read_table
from stablequant.jobs import job
from stablequant.plots import plot_percentiles

with job(snakemake.log[0]):
    plot_percentiles(read_table(Path(snakemake.input[0])), Path(snakemake.output[0]))
