"""Place one method's scales and the INT8 weights into the fp32 graph."""

from pathlib import Path

from stablequant.files import read_json
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.qdq import insert_qdq

with job(snakemake.log[0]) as log:
    activations = read_json(Path(snakemake.input.scales))["activations"]
    source, destination = Path(snakemake.input.graph), Path(snakemake.output[0])
    modules = read_modules(Path(snakemake.input.layers))
    insert_qdq(source, modules, {name: row["scale"] for name, row in activations.items()}, destination)
    log.info("%s: %.3f of the size of fp32", destination, destination.stat().st_size / source.stat().st_size)
