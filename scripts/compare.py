"""Join all evaluations of a model into one table."""

from pathlib import Path

from stablequant.corpora.utterance import check_disjoint, read_utterances
from stablequant.report.compare import compare
from stablequant.report.show import show
from stablequant.storage.files import read_json, read_table, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    files = snakemake.input
    check_disjoint(read_utterances(Path(files.calibration)), read_utterances(Path(files.evaluation)))
    timings = [row for path in files.timings for row in read_table(Path(path)).to_dict("records")]
    table = compare([read_json(Path(path)) for path in files.evaluations], timings, snakemake.params.seed)
    write_table(Path(snakemake.output[0]), table)
    log.info("%s\n%s", snakemake.output[0], show(Path(snakemake.output[0])))
