"""In which precision the layers of all engines run, in one table."""

from collections.abc import Mapping

import pandas as pd

from stablequant.engines.precision import fallen_back

COLUMNS = ["backend", "method", "layer", "requested", "runs", "fell_back"]


def summarise(tables: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """One row per backend, method and layer, `COLUMNS`; several precisions within a layer are all named."""
    rows = []
    for (backend, method), table in tables.items():
        fell = fallen_back(table)
        for layer, modules in table.groupby("layer", sort=False):
            runs = " ".join(sorted(modules["runs"].dropna().unique())) or None
            rows.append([backend, method, layer, modules["requested"].iloc[0], runs, layer in fell])
    return pd.DataFrame(rows, columns=COLUMNS)
