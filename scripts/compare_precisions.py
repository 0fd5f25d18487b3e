"""Gather in which precision the layers of all engines run."""

from pathlib import Path

from stablequant.engines.folder import PRECISION
from stablequant.report.compare_precisions import summarise
from stablequant.storage.files import read_table, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    folders = {(path.parent.name, path.name): path for path in map(Path, snakemake.input)}
    summary = summarise({key: read_table(folder / PRECISION) for key, folder in folders.items()})
    write_table(Path(snakemake.output[0]), summary)
    log.info("%d layers of %d engines fell back from INT8", summary["fell_back"].sum(), len(folders))
