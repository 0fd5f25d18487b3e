"""Recognise the calibration set with all layers quantized, and mend what loses too much."""

from pathlib import Path

from stablequant.quantization.histograms import load_histograms
from stablequant.search.check_combination import check_combination, step_table
from stablequant.search.combination import Choice, Combination
from stablequant.search.gather_percentiles import best_percentiles, unrecovered_layers
from stablequant.search.select_layers import most_sensitive
from stablequant.search.session import Settings, read_search
from stablequant.storage.files import read_table, write_json, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0], snakemake.threads) as log:
    params, step = snakemake.params, snakemake.params.settings["combination"]
    searches = read_table(Path(snakemake.input.percentiles))
    keep_float = params.unrecovered == "keep"
    choice = Choice(
        best_percentiles(searches),
        frozenset(unrecovered_layers(searches, params.threshold) if keep_float else []),
    )
    steps = []
    if step:
        settings = Settings(params.device, snakemake.threads, params.batch_mb, params.seed)
        search = read_search(snakemake.input, settings)
        suspects = most_sensitive(read_table(Path(snakemake.input.sensitivity)), step.suspects)
        choice, steps = check_combination(
            Combination(
                search.recogniser, search.modules, load_histograms(Path(snakemake.input.histograms)), search.calibration
            ),
            choice,
            params.percentiles,
            suspects["layer"].tolist(),
            params.threshold,
            step.audio_seconds,
            keep_float,
        )
    write_table(Path(snakemake.output.steps), step_table(steps))
    write_json(
        Path(snakemake.output.choice),
        {"percentiles": dict(choice.percentiles), "float_layers": sorted(choice.float_layers)},
    )
    log.info("layers in floating point: %s", ", ".join(sorted(choice.float_layers)) or "none")
