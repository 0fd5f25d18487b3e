"""Export the recogniser as an fp32 ONNX graph."""

from pathlib import Path

from stablequant.recognisers.ctc.export_onnx import export_onnx
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.storage.files import graph_bytes, write_json
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    model = load_recogniser(Path(snakemake.input.checkpoint), attention="eager", threads=snakemake.threads)
    graph = Path(snakemake.output[0])
    export_onnx(model, read_modules(Path(snakemake.input.layers)), graph)
    log.info("%s: %.1f MB", graph, graph_bytes(graph) / 1e6)
    write_json(Path(snakemake.output.provenance), provenance_of(snakemake))
