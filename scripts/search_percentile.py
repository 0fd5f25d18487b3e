"""Recognise the calibration set with one layer clipped at each percentile of the grid."""

from pathlib import Path

from stablequant.quantization.histograms import UNCLIPPED, load_histograms
from stablequant.search.search_percentile import mark_best, search_percentile, unclipped
from stablequant.search.session import Settings, read_search
from stablequant.storage.files import read_json, write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    layer, params = snakemake.wildcards.layer, snakemake.params
    settings = Settings(params.device, snakemake.threads, params.batch_mb, params.seed, params.confidence)
    search = read_search(snakemake.input, settings, [layer])
    known = unclipped(read_json(Path(snakemake.input.probe)), layer)
    tried = search_percentile(
        search.recogniser,
        search.modules,
        load_histograms(Path(snakemake.input.histograms)),
        params.percentiles if known else [UNCLIPPED, *params.percentiles],
        search.calibration,
        search.racing,
        known,
    )
    candidates = mark_best([*known, *tried])
    best = next(c for c in candidates if c.best)
    write_json(
        Path(snakemake.output[0]),
        {"layer": layer, "percentile": best.percentile, "candidates": [c.row() for c in candidates]},
    )
    log.info("%s: best cut-off %s %%, %+.2f points of WER", layer, best.percentile, best.outcome.degradation)
