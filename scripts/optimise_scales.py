"""Choose the range of every activation by one method."""

from pathlib import Path

from stablequant.files import read_json, write_json
from stablequant.histograms import load_histograms
from stablequant.jobs import job
from stablequant.scales import optimise_ranges

with job(snakemake.log[0]) as log:
    method = snakemake.wildcards.method
    searches = [read_json(Path(path)) for path in snakemake.input.percentiles]
    table = optimise_ranges(
        load_histograms(Path(snakemake.input.histograms)),
        method,
        snakemake.params.uniform_percentile,
        {search["layer"]: search["percentile"] for search in searches},
    )
    activations = table.set_index("activation").to_dict("index")
    write_json(Path(snakemake.output[0]), {"method": method, "activations": activations})
    log.info("%s: ranges of %d activations", method, len(table))
