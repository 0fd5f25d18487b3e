"""The precision of each layer in all engines, in one table."""

from collections.abc import Mapping

import pandas as pd

from stablequant.engines.precision import layers_not_in_int8

COLUMNS = ["backend", "method", "layer", "requested", "runs", "fell_back"]


def summarise(tables: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """One row per backend, method and layer with the columns `COLUMNS`.

    ``tables`` are tables of `precision_table` by backend and method. ``runs`` lists all precisions within a layer.
    """
    rows = []
    for (backend, method), table in tables.items():
        fell = layers_not_in_int8(table)
        for layer, modules in table.groupby("layer", sort=False):
            runs = " ".join(sorted(modules["runs"].dropna().unique())) or None
            rows.append([backend, method, layer, modules["requested"].iloc[0], runs, layer in fell])
    return pd.DataFrame(rows, columns=COLUMNS)
