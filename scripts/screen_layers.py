"""Measure the divergence of each layer, quantized alone, on a little of the calibration audio."""

from pathlib import Path

from stablequant.quantization.histograms import load_histograms
from stablequant.quantization.ranges import full_range
from stablequant.search.screen_layers import screen_layers
from stablequant.search.session import Settings, read_search
from stablequant.storage.files import write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params = snakemake.params
    settings = Settings(params.device, snakemake.threads, params.batch_mb, params.seed)
    search = read_search(snakemake.input, settings)
    ranges = {name: full_range(h) for name, h in load_histograms(Path(snakemake.input.histograms)).items()}
    screened = screen_layers(search.recogniser, search.modules, ranges, search.calibration, params.audio_seconds)
    write_json(Path(snakemake.output[0]), screened)
    for row in sorted(screened, key=lambda row: row["divergence"], reverse=True):
        log.info("%(layer)s: divergence %(divergence).3g, %(lost)d of %(words)d words lost", row)
