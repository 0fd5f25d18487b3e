"""Export the recogniser as an fp32 ONNX graph."""

from pathlib import Path

from stablequant.export import export_onnx
from stablequant.files import graph_bytes, write_json
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.provenance import provenance_of
from stablequant.recogniser import load_recogniser

with job(snakemake.log[0]) as log:
    model = load_recogniser(Path(snakemake.input.checkpoint), attention="eager", threads=snakemake.threads)
    graph = Path(snakemake.output[0])
    export_onnx(model, read_modules(Path(snakemake.input.layers)), graph)
    log.info("%s: %.1f MB", graph, graph_bytes(graph) / 1e6)
    write_json(Path(snakemake.output.provenance), provenance_of(snakemake))
