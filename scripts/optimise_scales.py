"""Choose the range of every activation by one method."""

from pathlib import Path

from stablequant.files import read_table, write_json
from stablequant.histograms import load_histograms
from stablequant.jobs import job
from stablequant.percentile_table import best_percentiles
from stablequant.scales import optimise_ranges

with job(snakemake.log[0]) as log:
    method = snakemake.wildcards.method
    searches = snakemake.input.get("percentiles")
    table = optimise_ranges(
        load_histograms(Path(snakemake.input.histograms)),
        method,
        snakemake.params.uniform_percentile,
        best_percentiles(read_table(Path(searches))) if searches else {},
    )
    activations = table.set_index("activation").to_dict("index")
    write_json(Path(snakemake.output[0]), {"method": method, "activations": activations})
    log.info("%s: ranges of %d activations", method, len(table))
