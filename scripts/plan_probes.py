"""Choose the layers that are recognised in full."""

from pathlib import Path

from stablequant.search.plan_probes import layers_to_probe
from stablequant.storage.files import read_json, write_json
from stablequant.workflow.jobs import job

with job(snakemake.log[0]) as log:
    params = snakemake.params
    screen = read_json(Path(snakemake.input.screen))
    probes = [row for path in snakemake.input.probes for row in read_json(Path(path))]
    layers = layers_to_probe(screen, probes, params.threshold, params.in_a_row)
    new = [layer for layer in layers if layer not in {row["layer"] for row in probes}]
    write_json(Path(snakemake.output[0]), {"layers": layers, "complete": not new})
    log.info("layers to recognise: %s", ", ".join(new) or f"no more than these {len(layers)} of {len(screen)}")
