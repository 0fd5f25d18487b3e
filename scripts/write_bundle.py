"""Gather all that is needed to use the quantized recogniser elsewhere."""

import platform
from importlib.metadata import version
from pathlib import Path

from stablequant.bundle import write_bundle
from stablequant.card import model_card
from stablequant.files import read_json, read_table
from stablequant.jobs import job

PACKAGES = ("torch", "transformers", "numpy", "onnx-ir", "openvino")

with job(snakemake.log[0]) as log:
    files, params = snakemake.input, snakemake.params
    model = snakemake.wildcards.model
    sensitivity = read_table(Path(files.sensitivity))
    scales = read_json(Path(files.scales))
    record = {
        "model": model,
        "method": "stablequant",
        "settings": params.settings,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "command": f"snakemake results/{model}/bundle",
        "layers": sensitivity.to_dict("records"),
        "float_layers": scales["float_layers"],
        "activations": scales["activations"],
    }
    utterances = len(read_table(Path(files.utterances)))
    folder = Path(snakemake.output[0])
    write_bundle(
        folder,
        Path(files.graph),
        Path(files.checkpoint),
        {Path(engine).parent.name: Path(engine) for engine in files.engines},
        record,
        model_card(model, params.note, scales, Path(files.comparison), utterances),
    )
    log.info("%s: %.1f MB", folder, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6)
