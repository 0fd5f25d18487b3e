"""Fetch one part of LibriSpeech and say what was verified."""

from pathlib import Path

from stablequant.corpora.download_librispeech import MD5, fetch
from stablequant.storage.files import write_text
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    marker = Path(snakemake.output[0])
    part = snakemake.wildcards.part
    folder = fetch(part, snakemake.params.mirror, MD5[part], marker.parent)
    write_text(marker, f"{MD5[part]}  {part}.tar.gz\n")
    log.info("%s: verified and unpacked", folder)
