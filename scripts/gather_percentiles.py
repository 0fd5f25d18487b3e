"""Gather what all searches found; nothing starts from the cached hidden values any more."""

from pathlib import Path

from stablequant.search.gather_percentiles import gather_percentiles, overruled
from stablequant.search.hidden_values_folder import remove_cache
from stablequant.storage.files import read_json, write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    table = gather_percentiles([read_json(Path(path)) for path in snakemake.input.searches])
    write_table(Path(snakemake.output[0]), table)
    for row in table[table["best"]].itertuples():
        log.info("%s: %s %%, %+.2f points of WER", row.layer, row.percentile, row.degradation)
    if table["screen_divergence"].notna().any():
        log.info("words overruled the screen for %d of %d layers", overruled(table), table["layer"].nunique())
    size = remove_cache(Path(snakemake.input.hidden_values))
    log.info("removed %.0f MB of cached hidden values", size / 1e6)
