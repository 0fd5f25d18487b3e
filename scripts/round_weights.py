"""Round the weights so that, over calibration audio, their errors cancel."""

from pathlib import Path

from stablequant.equalisation import load_scales
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.recogniser import load_recogniser
from stablequant.reference import read_split
from stablequant.rounding import save_rounded
from stablequant.stages import Stages
from stablequant.weights import round_weights

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
