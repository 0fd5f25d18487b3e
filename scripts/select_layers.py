"""Gather the probes and select the layers above the threshold."""

from pathlib import Path

from stablequant.search.screened import SCREENED
from stablequant.search.select_layers import overruled, select_layers
from stablequant.storage.files import read_json, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    threshold = snakemake.params.threshold
    probes = [row for path in snakemake.input.probes for row in read_json(Path(path))]
    screen = read_json(Path(snakemake.input.screen)) if snakemake.input.screen else []
    table = select_layers(probes, threshold, screen)
    write_table(Path(snakemake.output[0]), table)
    log.info("above %s points of WER: %s", threshold, ", ".join(table.loc[table["selected"], "layer"]) or "no layer")
    if screen:
        only = int(table["measured"].eq(SCREENED).sum())
        log.info("%d of %d layers were only screened; words overruled it for %d", only, len(table), overruled(table))
    if doubtful := table.loc[~table["sure"], "layer"].tolist():
        log.warning("the threshold lies within the interval of the degradation of: %s", ", ".join(doubtful))
