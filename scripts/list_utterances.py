"""Check every utterance of a split once, before anything long starts."""

from pathlib import Path

from stablequant.files import read_json, write_table
from stablequant.jobs import job
from stablequant.manifests import read_manifest
from stablequant.utterances import Rejection, Utterance, check_rejections, list_utterances, table_of

with job(snakemake.log.messages) as log:
    manifest = Path(snakemake.input.manifest)
    sample_rate = read_json(Path(snakemake.input.checkpoint) / "preprocessor_config.json")["sampling_rate"]
    utterances, rejections = list_utterances(read_manifest(manifest), sample_rate)
    rejected = Path(snakemake.log.rejected)
    write_table(rejected, table_of(rejections, Rejection))
    log.info("%s: %d utterances, %d rejected", manifest, len(utterances), len(rejections))
    total = len(utterances) + len(rejections)
    check_rejections(manifest, rejections, total, snakemake.params.max_rejected, rejected)
    write_table(Path(snakemake.output.utterances), table_of(utterances, Utterance))
