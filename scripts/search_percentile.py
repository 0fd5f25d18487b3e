"""Recognise the calibration set with one layer clipped at each percentile of the grid."""

from pathlib import Path

from stablequant.files import write_json
from stablequant.histograms import load_histograms
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.percentiles import search
from stablequant.recogniser import load_recogniser
from stablequant.reference import read_calibration
from stablequant.sensitivity import probe

with job(snakemake.log[0]) as log:
    layer = snakemake.wildcards.layer
    checkpoint = Path(snakemake.input.checkpoint)
    calibration = read_calibration(
        checkpoint,
        Path(snakemake.input.utterances),
        Path(snakemake.input.summary),
        Path(snakemake.input.posteriors),
        snakemake.params.batch_seconds,
        snakemake.params.seed,
    )
    modules = [m for m in read_modules(Path(snakemake.input.layers)) if m.layer == layer]
    histograms = load_histograms(Path(snakemake.input.histograms))
    model = load_recogniser(checkpoint, snakemake.params.device, threads=snakemake.threads)
    candidates = search(
        {m.activation: histograms[m.activation] for m in modules},
        snakemake.params.percentiles,
        lambda ranges: probe(model, modules, ranges, calibration, layer),
    )
    best = next(c for c in candidates if c.best)
    write_json(
        Path(snakemake.output[0]),
        {"layer": layer, "percentile": best.percentile, "candidates": [c.row() for c in candidates]},
    )
    log.info("%s: best cut-off %s %%, %+.2f points of WER", layer, best.percentile, best.probe.degradation)
