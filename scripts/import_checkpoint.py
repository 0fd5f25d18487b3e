"""Bring the checkpoint into the pipeline's layout and list its layers."""

from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    source = snakemake.params.source
    layers = import_checkpoint(source, Path(snakemake.output.checkpoint))
    found = layers["layer"].unique().tolist()
    if found != snakemake.params.layers:
        raise StableQuantError(
            "config key 'layers'", f"{source} has {len(found)} layers, not {len(snakemake.params.layers)}", "correct it"
        )
    write_table(Path(snakemake.output.layers), layers)
    log.info("%s: %d layers, %.2f million quantizable parameters", source, len(found), layers["parameters"].sum() / 1e6)
