"""Export the recogniser as fp32 ONNX graphs."""

from pathlib import Path

from stablequant.recognisers.export_onnx import export_onnx
from stablequant.storage.files import write_json
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    size = export_onnx(Path(snakemake.input.checkpoint), Path(snakemake.output[0]), snakemake.threads)
    log.info("%s: %.1f MB", snakemake.output[0], size / 1e6)
    write_json(Path(snakemake.output.provenance), provenance_of(snakemake))
