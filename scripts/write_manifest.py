"""List a folder of audio as fairseq's manifest."""

from pathlib import Path

from stablequant.files import write_text
from stablequant.jobs import job
from stablequant.write_manifest import manifest_of

with job(snakemake.log[0]):
    write_text(Path(snakemake.output[0]), manifest_of(Path(snakemake.input[0])))
