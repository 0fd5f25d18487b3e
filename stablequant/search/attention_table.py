"""The table ``attention.tsv``: which layers compute the scores of attention in INT8."""

from collections.abc import Sequence

import pandas as pd

COLUMNS = ["layer", "outputs", "divergence", "int8"]


def outputs_in_int8(table: pd.DataFrame) -> Sequence[str]:
    """Names of the outputs that a table with the columns `COLUMNS` puts into INT8."""
    return [name for outputs in table.loc[table["int8"].astype(bool), "outputs"] for name in outputs.split()]
