"""Join all evaluations of a model into one table."""

from pathlib import Path

from stablequant.evaluation import compare
from stablequant.files import read_json, write_table
from stablequant.jobs import job

with job(snakemake.log[0]) as log:
    table = compare([read_json(Path(path)) for path in snakemake.input], snakemake.params.seed)
    write_table(Path(snakemake.output[0]), table)
    shown = ["backend", "method", "wer", "degradation", "ci_low", "ci_high", "size_ratio", "speedup", "status"]
    log.info("%s\n%s", snakemake.output[0], table[shown].to_string(index=False, na_rep="", float_format="%.3f"))
