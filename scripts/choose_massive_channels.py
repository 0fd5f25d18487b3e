"""Choose how channels are quantized that reach far beyond the rest of their activation."""

from pathlib import Path

from stablequant.quantization.channel_scales import load_channel_scales, save_channel_scales
from stablequant.quantization.collecting import Preparation
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.choose_massive_channels import choose_massive_channels, untouched
from stablequant.search.split import read_split
from stablequant.storage.files import write_json, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params, output = snakemake.params, snakemake.output
    scales, settings = load_channel_scales(Path(snakemake.input.equalisation)), params.settings
    if settings:
        recogniser = load_recogniser(Path(snakemake.input.checkpoint), params.device, snakemake.threads)
        split = read_split(recogniser, Path(snakemake.input.utterances), params.batch_mb, params.seed)
        preparation = Preparation(scales, settings["recentre"])
        chosen = choose_massive_channels(recogniser, split, preparation, settings["massive_channels"])
    else:
        log.info("no channels are treated apart: the procedure is the paper's, or 'massive_channels' is not enabled")
        chosen = untouched(scales)
    save_channel_scales(Path(output.channel_scales), chosen.channel_scales)
    write_json(Path(output.carried), chosen.carried)
    write_table(Path(output.table), chosen.table)
    for row in chosen.table[chosen.table["form"] != "none"].itertuples():
        fell = f"{row.divergence_before:.3g} to {row.divergence_after:.3g} nats"
        log.info("%s: %d channels %s, divergence from %s", row.activation, row.channels, row.form, fell)
