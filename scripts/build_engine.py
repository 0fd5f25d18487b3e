"""Build one backend's engine from one method's ONNX graphs."""

from pathlib import Path

from stablequant.corpora.utterance import read_utterances
from stablequant.engines.build_engine import Order, build_engine
from stablequant.engines.folder import PRECISION, read_engine
from stablequant.engines.precision import warn_about_fallbacks
from stablequant.recognisers.layer_table import read_modules
from stablequant.storage.files import read_json, read_table
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    files, folder = snakemake.input, Path(snakemake.output[0])
    modules = read_modules(Path(files.layers))
    scales = files.get("scales")
    lengths = [[u.samples for u in read_utterances(Path(split))] for split in files.utterances]
    calibration, evaluation = lengths or ([], [])  # empty if the backend does not tune its engines
    order = Order(
        snakemake.wildcards.backend,
        snakemake.wildcards.method,
        snakemake.params.settings,
        calibration,
        read_json(Path(scales))["float_layers"] if scales else {m.layer for m in modules},
        longest=max(evaluation, default=0),
    )
    size = build_engine(order, Path(files.graph), Path(files.checkpoint), modules, folder, provenance_of(snakemake))
    warn_about_fallbacks(read_table(folder / PRECISION), folder)
    log.info("%s: %.1f MB, %s %s", folder, size / 1e6, order.backend, read_engine(folder)["version"])
