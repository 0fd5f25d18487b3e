"""Write the report of a model."""

from pathlib import Path

from stablequant.report.write_report import report
from stablequant.storage.files import write_text
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    model = snakemake.wildcards.model
    write_text(Path(snakemake.output[0]), report({model: (Path("results") / model, snakemake.params.note)}))
