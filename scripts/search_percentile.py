"""Recognise the calibration set with one layer clipped at each percentile of the grid."""

from functools import partial
from pathlib import Path

from stablequant.quantization.histograms import UNCLIPPED, load_histograms
from stablequant.search.screen_percentiles import rows_of, screen_percentiles, search_screened
from stablequant.search.search_percentile import WordTies, mark_best, search_percentile, unclipped
from stablequant.search.session import Settings, read_search
from stablequant.storage.files import read_json, write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    layer, params = snakemake.wildcards.layer, snakemake.params
    settings = Settings(params.device, snakemake.threads, params.batch_mb, params.seed, params.confidence)
    search = read_search(snakemake.input, settings, [layer])
    known = unclipped(read_json(Path(snakemake.input.probe)), layer)
    histograms = load_histograms(Path(snakemake.input.histograms))
    words = search.calibration.reference.errors.words
    step = params.settings["ties"]
    ties = WordTies(words, step.points, params.seed) if step else None
    measured = (search.recogniser, search.modules, histograms)
    grid = [UNCLIPPED, *params.percentiles]
    if params.screening is None:
        percentiles = params.percentiles if known else grid
        tried = search_percentile(*measured, percentiles, search.calibration, search.racing, known, ties)
        candidates = mark_best([*known, *tried], ties)
        rows = [c.row() for c in candidates]
    else:
        screen = screen_percentiles(*measured, grid, search.calibration, params.screening["audio_seconds"])
        recognise = partial(search_percentile, *measured, calibration=search.calibration)
        candidates = search_screened(screen, recognise, params.screening["threshold"], known, ties)
        rows = rows_of(screen, candidates)
        log.info("%d of %d cut-offs were recognised, the others only screened", len(candidates), len(screen))
    best = next(c for c in candidates if c.best)
    write_json(Path(snakemake.output[0]), {"layer": layer, "percentile": best.percentile, "candidates": rows})
    log.info("%s: best cut-off %s %%, %+.2f points of WER", layer, best.percentile, best.outcome.degradation)
