"""Join all evaluations of a model into one table."""

from pathlib import Path

from stablequant.evaluation import compare
from stablequant.files import read_json, write_table
from stablequant.jobs import job
from stablequant.show import show
from stablequant.utterances import check_apart, read_utterances

with job(snakemake.log[0]) as log:
    files = snakemake.input
    check_apart(read_utterances(Path(files.calibration)), read_utterances(Path(files.evaluation)))
    table = compare([read_json(Path(path)) for path in files.evaluations], snakemake.params.seed)
    write_table(Path(snakemake.output[0]), table)
    log.info("%s\n%s", snakemake.output[0], show(Path(snakemake.output[0])))
