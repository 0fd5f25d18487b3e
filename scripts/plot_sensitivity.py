"""Plot the degradation of each layer."""

from pathlib import Path

from stablequant.files import read_table
from stablequant.jobs import job
from stablequant.plots import plot_sensitivity

with job(snakemake.log[0]):
    plot_sensitivity(read_table(Path(snakemake.input[0])), snakemake.params.threshold, Path(snakemake.output[0]))
