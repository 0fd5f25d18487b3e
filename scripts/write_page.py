"""Write one of the report's tables as a page."""

from pathlib import Path

from stablequant.files import write_text
from stablequant.jobs import job
from stablequant.pages import write_page

with job(snakemake.log[0]):
    name, model = snakemake.wildcards.page, snakemake.wildcards.model
    write_text(Path(snakemake.output[0]), write_page(name, model, [Path(file) for file in snakemake.input]))
