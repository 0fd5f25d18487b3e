"""Choose the range of every activation by one method."""

from pathlib import Path

from stablequant.quantization.histograms import load_histograms
from stablequant.search.optimise_scales import optimise_scales
from stablequant.storage.files import read_json, write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    method = snakemake.wildcards.method
    chosen = snakemake.input.get("choice")
    choice = read_json(Path(chosen)) if chosen else {"percentiles": {}, "float_layers": []}
    table = optimise_scales(
        load_histograms(Path(snakemake.input.histograms)),
        method,
        snakemake.params.uniform_percentile,
        choice["percentiles"],
    )
    table = table[~table["layer"].isin(choice["float_layers"])]
    activations = table.set_index("activation").to_dict("index")
    write_json(
        Path(snakemake.output[0]),
        {"method": method, "float_layers": choice["float_layers"], "activations": activations},
    )
    log.info("%s: ranges of %d activations", method, len(table))
