"""Place one method's scales and the INT8 weights into the fp32 graph."""

from pathlib import Path

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.channel_scales import load_scales
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import load_rounded
from stablequant.recognisers.layer_table import read_modules
from stablequant.storage.files import graph_bytes, read_json, write_json
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

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
