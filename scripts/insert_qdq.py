"""Place one method's scales and the INT8 weights into the fp32 graph."""

from pathlib import Path

from stablequant.equalisation import load_scales
from stablequant.files import graph_bytes, read_json, write_json
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.provenance import provenance_of
from stablequant.qdq import insert_qdq
from stablequant.quantization import Range
from stablequant.rounding import load_rounded

with job(snakemake.log[0]) as log:
    scales = read_json(Path(snakemake.input.scales))
    source, destination = Path(snakemake.input.graph), Path(snakemake.output[0])
    modules = [m for m in read_modules(Path(snakemake.input.layers)) if m.layer not in scales["float_layers"]]
    ranges = {name: Range(row["low"], row["high"], row["split"]) for name, row in scales["activations"].items()}
    equalisation, weights = snakemake.input.get("equalisation"), snakemake.input.get("weights")
    channel_scales = load_scales(Path(equalisation)) if equalisation else {}
    rounded = load_rounded(Path(weights)) if weights else {}
    insert_qdq(source, modules, ranges, channel_scales, destination, rounded)
    log.info("%s: %.3f of the size of fp32", destination, graph_bytes(destination) / graph_bytes(source))
    write_json(Path(snakemake.output.provenance), provenance_of(snakemake))
