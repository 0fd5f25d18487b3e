"""Build one backend's engine from one ONNX graph."""

from functools import partial
from pathlib import Path

from stablequant.corpora.list_utterances import read_utterances
from stablequant.engines.folder import PRECISION, write_engine
from stablequant.engines.precision import FLOAT32, precision_table, warn_of_fallbacks
from stablequant.recognisers.layer_table import read_modules
from stablequant.storage.files import graph_bytes, read_json, read_table
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    backend, method = snakemake.wildcards.backend, snakemake.wildcards.method
    graph = Path(snakemake.input.graph)
    modules = read_modules(Path(snakemake.input.layers))
    scales = snakemake.input.get("scales")
    float_layers = read_json(Path(scales))["float_layers"] if scales else {m.layer for m in modules}
    settings = {}
    if backend.startswith("tensorrt"):
        from stablequant.engines import tensorrt as engine

        samples = [u.samples for u in read_utterances(Path(snakemake.input.utterances))]
        asked = snakemake.params.tensorrt
        profile = engine.Profile.of(samples, asked["max_samples"], asked["max_batch"])
        cache = Path(asked["timing_cache"]) if asked["timing_cache"] and backend == "tensorrt" else None
        build = partial(
            engine.build,
            backend,
            graph,
            compute_capabilities=asked["compute_capabilities"],
            profile=profile,
            timing_cache=cache,
        )
        version = engine.version(backend)
        settings = {
            "compute_capabilities": asked["compute_capabilities"],
            "gpu": engine.gpu_capability() if backend == "tensorrt" else None,
            "profile": vars(profile),
        }
    elif backend == "onnxruntime":
        from stablequant.engines import onnxruntime as engine

        build, version = partial(engine.build, graph), engine.version()
    else:
        from stablequant.engines import openvino as engine

        build, version = partial(engine.build, graph), engine.version()
        # a layer that was not to be INT8 is not to be bfloat16 either
        settings = {"floating": FLOAT32 if float_layers else snakemake.params.openvino["floating"]}
    floating = {key: settings[key] for key in settings if key == "floating"}  # OpenVINO's
    folder = Path(snakemake.output[0])
    size = write_engine(
        folder,
        Path(snakemake.input.checkpoint),
        lambda into: build(folder=into),
        {
            "backend": backend,
            "method": method,
            "version": version,
            "onnx_bytes": graph_bytes(graph),
            "float_layers": len(float_layers),
            **settings,
        },
        lambda built: precision_table(modules, float_layers, engine.precisions(built, modules, **floating)),
        provenance_of(snakemake),
    )
    warn_of_fallbacks(read_table(folder / PRECISION), folder)
    log.info("%s: %.1f MB, %s %s", folder, size / 1e6, backend, version)
