"""Place one method's scales and the INT8 weights into the fp32 graphs."""

from pathlib import Path

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedFile
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import graph_bytes, graph_files, read_json, write_json
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    scales, checkpoint = read_json(Path(snakemake.input.scales)), Path(snakemake.input.checkpoint)
    names = list(family_of(checkpoint).signatures(checkpoint))
    source, destination = Path(snakemake.input.graph), Path(snakemake.output[0])
    sources, destinations = graph_files(source, names), graph_files(destination, names)
    modules = [m for m in read_modules(Path(snakemake.input.layers)) if m.layer not in scales["float_layers"]]
    ranges = {name: Range.of_row(row) for name, row in scales["activations"].items()}
    divisors, weights = snakemake.input.get("channel_scales"), snakemake.input.get("weights")
    channel_scales = load_channel_scales(Path(divisors)) if divisors else {}
    rounded = dict(RoundedFile(Path(weights))) if weights else {}
    insert_qdq(sources, modules, ranges, channel_scales, destinations, rounded)
    before, after = (sum(map(graph_bytes, files.values())) for files in (sources, destinations))
    log.info("%s: %.3f of the size of fp32", destination, after / before)
    write_json(Path(snakemake.output.provenance), provenance_of(snakemake))
