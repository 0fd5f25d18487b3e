"""Set the hypotheses that quantization changed side by side with those of fp32."""

from pathlib import Path

from stablequant.report.compare_hypotheses import changed_hypotheses, count_changes
from stablequant.storage.files import read_table, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    texts = ("utterance", "transcript", "hypothesis")
    files = {(path.parent.name, path.stem): path for path in map(Path, snakemake.input)}
    table = changed_hypotheses({key: read_table(path, texts).fillna("") for key, path in files.items()})
    write_table(Path(snakemake.output[0]), table)
    for backend, method, changed, better, worse in count_changes(table):
        log.info("%s, %s: %d utterances changed, %d better and %d worse", backend, method, changed, better, worse)
