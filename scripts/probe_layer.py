"""Recognise the calibration set with a layer quantized to its largest values, one layer after the other."""

from dataclasses import asdict
from pathlib import Path

from stablequant.quantization.histograms import load_histograms
from stablequant.quantization.ranges import full_range
from stablequant.search.probe_layer import probe_layers
from stablequant.search.session import Settings, read_search
from stablequant.storage.files import write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params = snakemake.params
    settings = Settings(params.device, snakemake.threads, params.batch_mb, params.seed, params.confidence)
    search = read_search(snakemake.input, settings, params.layers)
    ranges = {name: full_range(h) for name, h in load_histograms(Path(snakemake.input.histograms)).items()}
    outcomes = probe_layers(
        search.recogniser, search.modules, params.layers, ranges, search.calibration, params.threshold, search.racing
    )
    kinds = {m.layer: m.kind for m in search.modules}
    rows = [
        {"layer": layer, "kind": kinds[layer], **asdict(o)} for layer, o in zip(params.layers, outcomes, strict=True)
    ]
    write_json(Path(snakemake.output[0]), rows)
    for row in rows:
        log.info("%(layer)s: %(degradation)+.2f points of WER (95 %%: %(ci_low).2f to %(ci_high).2f)", row)
