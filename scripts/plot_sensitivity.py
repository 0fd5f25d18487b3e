"""Plot the degradation of each layer."""

from pathlib import Path

from stablequant.report.plot_sensitivity import plot_sensitivity
from stablequant.storage.files import read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    plot_sensitivity(read_table(Path(snakemake.input[0])), snakemake.params.threshold, Path(snakemake.output[0]))
