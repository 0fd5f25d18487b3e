"""Plot the searches of all selected layers."""

from pathlib import Path

from stablequant.files import read_json
from stablequant.jobs import job
from stablequant.plots import plot_percentiles

with job(snakemake.log[0]):
    plot_percentiles([read_json(Path(path)) for path in snakemake.input], Path(snakemake.output[0]))
