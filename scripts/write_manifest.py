"""List a folder of audio as fairseq's manifest."""

from pathlib import Path

from stablequant.corpora.write_manifest import manifest_of
from stablequant.storage.files import write_text
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    write_text(Path(snakemake.output[0]), manifest_of(Path(snakemake.input[0]), keep_unreadable=True))
