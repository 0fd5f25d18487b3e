"""Check every utterance of a split once, before anything long starts."""

from pathlib import Path

from stablequant.corpora.entries import Rejection
from stablequant.corpora.list_utterances import (
    DrawnPart,
    check_part,
    check_rejections,
    describe_rejections,
    list_utterances,
)
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log.messages) as log:
    manifest = Path(snakemake.input[0])
    root = snakemake.params.audio_root
    checkpoint = Path(snakemake.input.checkpoint)
    front_end = family_of(checkpoint).front_end(checkpoint)
    entries = read_manifest(manifest, Path(root) if root else None, front_end.labels)
    wanted = snakemake.params.part
    part = DrawnPart(**wanted) if wanted else None
    utterances, rejections = list_utterances(entries, front_end, part)
    rejected = Path(snakemake.log.rejected)
    write_table(rejected, table_of(rejections, Rejection))
    log.info("%s: %d utterances, %d rejected", manifest, len(utterances), len(rejections))
    source, allowed, total = (
        entries.source or manifest,
        snakemake.params.max_rejected,
        len(utterances) + len(rejections),
    )
    if rejections:
        described = describe_rejections(source, rejections, total)
        log.warning("%s\n  all in %s", "\n".join(described), rejected)
    if part:
        check_part(entries, len(utterances), rejections, allowed, rejected)
    else:
        check_rejections(source, rejections, total, allowed, rejected)
    write_table(Path(snakemake.output.utterances), table_of(utterances, Utterance))
