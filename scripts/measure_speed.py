"""Time the recogniser on a little audio, to estimate how long the run will take."""

from pathlib import Path

from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.measure_speed import measure_speed
from stablequant.search.split import read_split
from stablequant.storage.files import write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    params = snakemake.params
    recogniser = load_recogniser(Path(snakemake.input.checkpoint), params.device, snakemake.threads)
    split = read_split(recogniser, Path(snakemake.input.utterances), params.batch_mb, params.seed)
    write_json(Path(snakemake.output[0]), dict(measure_speed(recogniser, split)))
