"""Recognise the calibration set in fp32, once for all that is measured against it."""

from pathlib import Path

from stablequant.quantization.channel_scales import load_scales
from stablequant.quantization.histograms import save_histograms
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.recognise_reference import Files, read_split, recognise_reference
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    checkpoint = Path(snakemake.input.checkpoint)
    params, switches, output = snakemake.params, snakemake.params.switches, snakemake.output
    found = recognise_reference(
        Stages(load_recogniser(checkpoint, params.device, threads=snakemake.threads)),
        read_modules(Path(snakemake.input.layers)),
        read_split(checkpoint, Path(snakemake.input.utterances), params.batch_mb, params.seed, switches["raced"]),
        Files(Path(output.summary), Path(output.posteriors), Path(output.activations)),
        snakemake.resources.disk_mb,
        switches["half"],
        params.precision,
        load_scales(Path(snakemake.input.equalisation)),
        switches["recentre"],
        switches["split_audio"],
    )
    save_histograms(Path(output.histograms), found.histograms)
    save_histograms(Path(output.prepared), found.prepared)
    log.info("WER of fp32 on the calibration set: %.2f %%", found.errors.wer)
