"""Recognise the calibration set in fp32, once for all that is measured against it."""

from pathlib import Path

from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.histograms import save_histograms
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.attention_table import outputs_in_int8
from stablequant.search.hidden_values import cache_key
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.split import read_split
from stablequant.storage.files import read_json, read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    checkpoint = Path(snakemake.input.checkpoint)
    params, switches, output = snakemake.params, snakemake.params.switches, snakemake.output
    recogniser = load_recogniser(checkpoint, params.device, snakemake.threads)
    split = read_split(recogniser, Path(snakemake.input.utterances), params.batch_mb, params.seed, switches["raced"])
    scales = load_channel_scales(Path(snakemake.input.channel_scales))
    carried = read_json(Path(snakemake.input.carried))
    attention = snakemake.input.get("attention")
    outputs = outputs_in_int8(read_table(Path(attention))) if attention else ()
    preparation = Preparation(scales, switches["recentre"], switches["split_audio"], carried, outputs)
    found = recognise_reference(
        recogniser,
        split,
        Files(Path(output.summary), Path(output.posteriors), Path(output.hidden_values)),
        Cache(cache_key(checkpoint, split), snakemake.resources.disk_mb, switches["half"]),
        preparation if preparation.changes_anything else None,
        params.precision,
        params.max_wer,
    )
    save_histograms(Path(output.histograms), found.histograms)
    save_histograms(Path(output.prepared), found.prepared)
    log.info("WER of fp32 on the calibration set: %.2f %%", found.errors.wer)
