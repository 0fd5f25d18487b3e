"""Plot the activations of the layers that suffer most alone, with the ranges that were chosen."""

from pathlib import Path

from stablequant.quantization.histograms import load_histograms
from stablequant.report.captions import LAYERS_DRAWN
from stablequant.report.plot_histograms import plot_histograms
from stablequant.search.select_layers import most_sensitive
from stablequant.storage.files import read_json, read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    plot_histograms(
        load_histograms(Path(snakemake.input.histograms)),
        read_json(Path(snakemake.input.scales))["activations"],
        most_sensitive(read_table(Path(snakemake.input.sensitivity)), LAYERS_DRAWN)["layer"].tolist(),
        Path(snakemake.output[0]),
    )
