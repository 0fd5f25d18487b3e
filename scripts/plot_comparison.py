"""Plot what every method's engine loses."""

from pathlib import Path

from stablequant.report.plot_comparison import plot_comparison
from stablequant.storage.files import read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    plot_comparison(read_table(Path(snakemake.input[0])), Path(snakemake.output[0]))
