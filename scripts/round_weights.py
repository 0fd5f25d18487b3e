"""Round the weights so that, over calibration audio, their errors cancel."""

from pathlib import Path

from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.int8_weights import save_rounded
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.round_weights import round_weights
from stablequant.search.split import read_split
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params, step, rounded = snakemake.params, snakemake.params.settings["rounding"], {}
    if step:
        recogniser = load_recogniser(Path(snakemake.input.checkpoint), params.device, snakemake.threads)
        split = read_split(recogniser, Path(snakemake.input.utterances), params.batch_mb, params.seed)
        scales = load_channel_scales(Path(snakemake.input.channel_scales))
        rounded = round_weights(recogniser, split, scales, step.audio_seconds)
    else:
        log.info("weights are rounded to the nearest level: the procedure is the paper's, or 'rounding' is not enabled")
    save_rounded(Path(snakemake.output[0]), rounded)
    log.info("rounded %d weights by their inputs' second moments (GPTQ)", len(rounded))
