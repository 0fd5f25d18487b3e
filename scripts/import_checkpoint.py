"""Bring the checkpoint into the pipeline's layout and list its layers."""

from pathlib import Path

from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    source = snakemake.params.source
    layers = import_checkpoint(source, Path(snakemake.output.checkpoint), snakemake.params.language)
    write_table(Path(snakemake.output.layers), layers)
    count, size = layers["layer"].nunique(), layers["parameters"].sum() / 1e6
    log.info("%s: %d layers, %.2f million quantizable parameters", source, count, size)
