"""Results of a run, as the workflow leaves them, without the run."""

from pathlib import Path

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import write_json, write_table

ROW = {
    **{"words": 2000, "ci_over": "utterances", "size_bytes": 30_000_000, "size_ratio": 0.3, "onnx_bytes": 1},
    **{"onnx_ratio": 0.26, "audio_seconds": 900.0, "wall_seconds": 2.0, "rtfx": 450.0, "speedup": 2.14},
    **{"speedup_low": 2.04, "speedup_high": 2.24, "new_speedup": 1.91},
    **{"float_layers": 0, "arithmetic": "int8", "status": EVALUATED, "backend": "openvino"},
}
FP32 = ROW | {"method": "fp32", "wer": 3.4, "degradation": 0.0, "ci_low": 0.0, "ci_high": 0.0}
INT8 = ROW | {"method": "stablequant", "wer": 3.5, "degradation": 0.1, "ci_low": -0.3, "ci_high": 0.5}


def write_results(folder: Path, *rows: dict) -> Path:
    write_table(folder / "comparison.tsv", pd.DataFrame(rows))
    searched = [
        {"layer": "cnn01", "percentile": 99.9, "best": True, "measured": "recognised"},
        {"layer": "cnn01", "percentile": 99.0, "best": False, "measured": "recognised"},
    ]
    write_table(
        folder / "percentiles.tsv", pd.DataFrame(searched).assign(measured="recognised", screen_divergence=None)
    )
    (folder / "scales").mkdir()
    cut = {"cnn01": 99.95, "cnn02": 99.8, "transformer01": 99.8, "positional": 100.0}
    used = {layer: {"layer": layer, "percentile": percentile, "carried": []} for layer, percentile in cut.items()}
    used["transformer01"]["carried"] = [3, 7]
    used["transformer01.keys"] = used["transformer01"] | {"carried": []}
    modules = [QuantizedModule(layer, "any", layer, layer) for layer in cut]
    modules.append(QuantizedModule("transformer01", "any", "k", "transformer01", "transformer01.keys"))
    write_table(folder / "layers.tsv", pd.DataFrame(modules))
    write_json(folder / "scales/stablequant.json", {"float_layers": ["head"], "activations": used})
    return folder


def selected(folder: Path) -> list[str]:
    """Layers that the finished run in ``folder`` selected."""
    rows = [line.split("\t") for line in (folder / "results/tiny/sensitivity.tsv").read_text().splitlines()]
    place = rows[0].index("selected")
    return [row[0] for row in rows[1:] if row[place] == "True"]
