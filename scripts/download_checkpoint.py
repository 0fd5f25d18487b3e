"""Download a checkpoint from the hub, and note its exact revision."""

from pathlib import Path

from stablequant.recognisers.download_checkpoint import download_checkpoint
from stablequant.storage.files import write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    found = download_checkpoint(snakemake.params.source, snakemake.params.language, snakemake.params.heads)
    write_json(Path(snakemake.output[0]), found)
    log.info("%s: %.1f MB", found["source"], found["bytes"] / 1e6)
