"""Write the report of a model."""

from pathlib import Path

from stablequant.report.verdict import FinishedRun
from stablequant.report.write_report import report
from stablequant.storage.files import write_text
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    model, params = snakemake.wildcards.model, snakemake.params
    run = FinishedRun(Path("results") / model, params.note, params.acceptable_loss, params.plots)
    write_text(Path(snakemake.output[0]), report({model: run}))
