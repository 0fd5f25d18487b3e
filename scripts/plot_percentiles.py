"""Plot the searches of all selected layers."""

from pathlib import Path

from stablequant.report.plot_percentiles import plot_percentiles
from stablequant.storage.files import read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    plot_percentiles(read_table(Path(snakemake.input[0])), Path(snakemake.output[0]))
