"""Plot the activations of the layers that were searched, or suffer most, with the ranges that were chosen."""

from pathlib import Path

from stablequant.files import read_json, read_table
from stablequant.histograms import load_histograms
from stablequant.jobs import job
from stablequant.plots import plot_histograms

with job(snakemake.log[0]):
    sensitivity = read_table(Path(snakemake.input.sensitivity))
    sensitivity = sensitivity.sort_values(["degradation", "divergence"], ascending=False)
    plot_histograms(
        load_histograms(Path(snakemake.input.histograms)),
        read_json(Path(snakemake.input.scales))["activations"],
        sensitivity["layer"].head(snakemake.params.layers).tolist(),
        Path(snakemake.output[0]),
    )
