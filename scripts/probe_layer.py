"""Recognise the calibration set with one layer quantized to its largest values."""

from dataclasses import asdict
from pathlib import Path

from stablequant.files import write_json
from stablequant.histograms import load_histograms
from stablequant.jobs import job
from stablequant.layer_table import read_modules
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
    ranges = {name: histogram.amax for name, histogram in load_histograms(Path(snakemake.input.histograms)).items()}
    model = load_recogniser(checkpoint, snakemake.params.device, threads=snakemake.threads)
    (result,) = probe(model, modules, [ranges], calibration, layer)
    write_json(Path(snakemake.output[0]), {"layer": layer, "kind": modules[0].kind, **asdict(result)})
    log.info("%s: %+.2f points of WER (95 %%: %.2f to %.2f)", layer, result.degradation, result.ci_low, result.ci_high)
