"""Write the report's tables as pages."""

from pathlib import Path

from stablequant.report.write_pages import write_page
from stablequant.storage.files import write_text
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    model = snakemake.wildcards.model
    for file in map(Path, snakemake.output):
        tables = [Path("results") / model / table for table in snakemake.params.tables[file.stem]]
        write_text(file, write_page(file.stem, model, tables))
