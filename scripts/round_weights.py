"""Round the weights so that, over calibration audio, their errors cancel."""

from pathlib import Path

from stablequant.quantization.channel_scales import load_scales
from stablequant.quantization.int8_weights import save_rounded
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.recognise_reference import read_split
from stablequant.search.round_weights import round_weights
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params, checkpoint = snakemake.params, Path(snakemake.input.checkpoint)
    rounded = {}
    if params.rounding["enabled"]:
        rounded = round_weights(
            Stages(load_recogniser(checkpoint, params.device, threads=snakemake.threads)),
            read_modules(Path(snakemake.input.layers)),
            read_split(checkpoint, Path(snakemake.input.utterances), params.batch_mb, params.seed),
            load_scales(Path(snakemake.input.equalisation)),
            params.rounding["audio_seconds"],
        )
    save_rounded(Path(snakemake.output[0]), rounded)
    log.info("%d weights rounded by what they are multiplied with", len(rounded))
