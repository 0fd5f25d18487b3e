"""The precision that was requested for each quantized module, and the precision in which an engine runs it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from stablequant.recognisers.modules import QuantizedModule

COLUMNS = ["layer", "module", "requested", "runs"]
INT8, FLOAT32, BFLOAT16 = "int8", "float32", "bfloat16"


def precision_table(
    modules: Sequence[QuantizedModule], float_layers: Collection[str], runs: Mapping[str, str]
) -> pd.DataFrame:
    """One row per module with the columns `COLUMNS`.

    ``runs`` is the precision in which each module runs, by module name. If a module is missing, its precision is not
    known before the engine runs, and the cell stays empty.
    """
    rows = [(m.layer, m.module, FLOAT32 if m.layer in float_layers else INT8, runs.get(m.module)) for m in modules]
    return pd.DataFrame(rows, columns=COLUMNS)


def layers_not_in_int8(table: pd.DataFrame) -> list[str]:
    """Layers with a module for which INT8 was requested, but which runs in another precision."""
    fell = (table["requested"] == INT8) & table["runs"].notna() & (table["runs"] != INT8)
    return table.loc[fell, "layer"].drop_duplicates().tolist()


def warn_about_fallbacks(table: pd.DataFrame, engine: Path) -> None:
    """Log a warning if layers of ``engine`` do not run in INT8 although it was requested."""
    layers = layers_not_in_int8(table)
    if layers:
        logging.warning(
            "%s: %d of %d layers fell back from INT8: %s",
            engine,
            len(layers),
            table["layer"].nunique(),
            ", ".join(layers),
        )
