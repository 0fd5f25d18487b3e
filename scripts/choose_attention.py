"""Choose where attention multiplies queries by keys in INT8."""

from pathlib import Path

from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.choose_attention import choose_attention
from stablequant.search.split import read_split
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params = snakemake.params
    recogniser = load_recogniser(Path(snakemake.input.checkpoint), params.device, snakemake.threads)
    split = read_split(recogniser, Path(snakemake.input.utterances), params.batch_mb, params.seed)
    table = choose_attention(recogniser, split, params.settings["attention"])
    write_table(Path(snakemake.output[0]), table)
    log.info("scores of attention in INT8 in %d of %d layers", table["int8"].sum(), len(table))
