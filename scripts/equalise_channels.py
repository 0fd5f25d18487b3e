"""Find the scales that bring the channels of every activation to similar ranges."""

from pathlib import Path

from stablequant.channels import equalise_channels
from stablequant.equalisation import save_scales
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.recogniser import load_recogniser
from stablequant.reference import read_split
from stablequant.stages import Stages
from stablequant.utterances import check_apart, read_utterances

with job(snakemake.log[0]) as log:
    params, calibration = snakemake.params, Path(snakemake.input.utterances)
    check_apart(read_utterances(calibration), read_utterances(Path(snakemake.input.checked)))
    scales = {}
    if params.equalisation["enabled"]:
        checkpoint = Path(snakemake.input.checkpoint)
        scales = equalise_channels(
            Stages(load_recogniser(checkpoint, params.device, threads=snakemake.threads)),
            read_modules(Path(snakemake.input.layers)),
            read_split(checkpoint, calibration, params.batch_mb, params.seed),
            params.equalisation["exponent"],
            params.equalisation["percentile"],
            params.equalisation["audio_seconds"],
        )
    save_scales(Path(snakemake.output[0]), scales)
    for activation, values in scales.items():
        log.info("%s: channels divided by %.3g to %.3g", activation, values.min(), values.max())
