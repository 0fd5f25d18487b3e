"""Join all evaluations of a model into one table."""

from pathlib import Path

from stablequant.evaluation import compare
from stablequant.files import read_json, write_table
from stablequant.jobs import job
from stablequant.show import show

with job(snakemake.log[0]) as log:
    table = compare([read_json(Path(path)) for path in snakemake.input], snakemake.params.seed)
    write_table(Path(snakemake.output[0]), table)
    log.info("%s\n%s", snakemake.output[0], show(Path(snakemake.output[0])))
