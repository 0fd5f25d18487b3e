"""Find the scales that bring the channels of every activation to similar ranges."""

from pathlib import Path

from stablequant.corpora.utterance import check_disjoint, read_utterances
from stablequant.quantization.channel_scales import save_channel_scales
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.split import read_split
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params, calibration = snakemake.params, Path(snakemake.input.utterances)
    check_disjoint(read_utterances(calibration), read_utterances(Path(snakemake.input.checked)))
    step, scales = params.settings["equalisation"], {}
    if step:
        recogniser = load_recogniser(Path(snakemake.input.checkpoint), params.device, snakemake.threads)
        split = read_split(recogniser, calibration, params.batch_mb, params.seed)
        scales = equalise_channels(recogniser, split, step.exponent, step.percentile, step.audio_seconds)
    else:
        log.info("channels stay as they are: the procedure is the paper's, or 'equalisation' is not enabled")
    save_channel_scales(Path(snakemake.output[0]), scales)
    for activation, values in scales.items():
        log.info("%s: channels divided by %.3g to %.3g", activation, values.min(), values.max())
