"""The precision that was asked for each quantized module, and the one that an engine really runs it in."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from stablequant.recognisers.wav2vec2.layers import QuantizedModule

COLUMNS = ["layer", "module", "requested", "runs"]
SUMMARY_COLUMNS = ["backend", "method", "layer", "requested", "runs", "fell_back"]
INT8, FLOAT32, BFLOAT16 = "int8", "float32", "bfloat16"


def precision_table(
    modules: Sequence[QuantizedModule], float_layers: Collection[str], runs: Mapping[str, str]
) -> pd.DataFrame:
    """One row per module, `COLUMNS`. ``runs`` is by module; what is not in it, nobody knows before it runs."""
    rows = [(m.layer, m.module, FLOAT32 if m.layer in float_layers else INT8, runs.get(m.module)) for m in modules]
    return pd.DataFrame(rows, columns=COLUMNS)


def fallen_back(table: pd.DataFrame) -> list[str]:
    """Layers with a module that was to run in INT8 and does not."""
    fell = (table["requested"] == INT8) & table["runs"].notna() & (table["runs"] != INT8)
    return table.loc[fell, "layer"].drop_duplicates().tolist()


def warn_of_fallbacks(table: pd.DataFrame, engine: Path) -> None:
    layers = fallen_back(table)
    if layers:
        logging.warning(
            "%s: %d of %d layers were to run in INT8 and do not: %s",
            engine,
            len(layers),
            table["layer"].nunique(),
            ", ".join(layers),
        )


def summarise(tables: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """One row per backend, method and layer, `SUMMARY_COLUMNS`; several precisions within a layer are all named."""
    rows = []
    for (backend, method), table in tables.items():
        fell = fallen_back(table)
        for layer, modules in table.groupby("layer", sort=False):
            runs = " ".join(sorted(modules["runs"].dropna().unique())) or None
            rows.append([backend, method, layer, modules["requested"].iloc[0], runs, layer in fell])
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
