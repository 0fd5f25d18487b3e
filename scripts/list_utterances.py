"""Check every utterance of a split once, before anything long starts."""

from pathlib import Path

from stablequant.corpora.list_utterances import Rejection, Utterance, check_rejections, list_utterances, table_of
from stablequant.corpora.manifests import read_manifest
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log.messages) as log:
    manifest = Path(snakemake.input[0])
    root = snakemake.params.audio_root
    entries = read_manifest(manifest, Path(root) if root else None)
    utterances, rejections = list_utterances(entries, read_front_end(Path(snakemake.input.checkpoint)))
    rejected = Path(snakemake.log.rejected)
    write_table(rejected, table_of(rejections, Rejection))
    log.info("%s: %d utterances, %d rejected", manifest, len(utterances), len(rejections))
    total = len(utterances) + len(rejections)
    check_rejections(manifest, rejections, total, snakemake.params.max_rejected, rejected)
    write_table(Path(snakemake.output.utterances), table_of(utterances, Utterance))
