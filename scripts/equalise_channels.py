"""Find the scales that bring the channels of every activation to similar ranges."""

from pathlib import Path

from stablequant.corpora.list_utterances import check_apart, read_utterances
from stablequant.quantization.channel_scales import save_scales
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.recognise_reference import read_split
from stablequant.workflow.jobs import job

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
