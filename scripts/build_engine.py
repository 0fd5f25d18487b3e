"""Build one backend's engine from one ONNX graph."""

from pathlib import Path
from statistics import median

from stablequant.engines.folder import PRECISION, write_engine
from stablequant.files import graph_bytes, read_json, read_table
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.precision import precision_table, warn_of_fallbacks
from stablequant.utterances import read_utterances

with job(snakemake.log[0]) as log:
    backend, method = snakemake.wildcards.backend, snakemake.wildcards.method
    graph = Path(snakemake.input.graph)
    modules = read_modules(Path(snakemake.input.layers))
    scales = snakemake.input.get("scales")
    float_layers = read_json(Path(scales))["float_layers"] if scales else {m.layer for m in modules}
    if backend == "openvino":
        from stablequant.engines import openvino as engine

        settings = {}
    else:
        from stablequant.engines import tensorrt_rtx as engine

        samples = [u.samples for u in read_utterances(Path(snakemake.input.utterances))]
        settings = {
            "compute_capabilities": snakemake.params.tensorrt["compute_capabilities"],
            "typical_samples": int(median(samples)),
            "max_samples": max(snakemake.params.tensorrt["max_samples"], *samples),
            "max_batch": snakemake.params.tensorrt["max_batch"],
        }
    description = {
        "backend": backend,
        "method": method,
        "version": engine.version(),
        "onnx_bytes": graph_bytes(graph),
        **settings,
    }
    folder = Path(snakemake.output[0])
    size = write_engine(
        folder,
        Path(snakemake.input.checkpoint),
        lambda into: engine.build(graph, into, **settings),
        description,
        lambda built: precision_table(modules, float_layers, engine.precisions(built, modules)),
    )
    warn_of_fallbacks(read_table(folder / PRECISION), folder)
    log.info("%s: %.1f MB, %s %s", folder, size / 1e6, backend, engine.version())
