"""The results of all searches in one table."""

from collections.abc import Sequence
from typing import TypedDict

import pandas as pd

COLUMNS = [
    *("layer", "percentile", "best", "stopped"),
    *("wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence", "utterances"),
]


class SearchedLayer(TypedDict):
    """Content of ``percentiles/{layer}.json``.

    Attributes
    ----------
    percentile: the best cut-off in percent
    candidates: rows of `stablequant.search.search_percentile.Candidate`
    """

    layer: str
    percentile: float
    candidates: list[dict[str, object]]


def gather_percentiles(searches: Sequence[SearchedLayer]) -> pd.DataFrame:
    """One row per searched layer and cut-off with the columns `COLUMNS`.

    ``percentile`` and ``wer`` are in percent; ``degradation``, ``ci_low`` and ``ci_high`` are in percentage points.
    ``ci_over`` says what the bootstrap of the interval draws, ``speakers`` or ``utterances``. ``stopped`` is true if
    racing stopped the cut-off before all audio was recognised.
    """
    rows = [{"layer": search["layer"], **candidate} for search in searches for candidate in search["candidates"]]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"best": bool, "stopped": bool})


def best_percentiles(table: pd.DataFrame) -> dict[str, float]:
    """The best cut-off, in percent, by layer."""
    best = table[table["best"].astype(bool)]
    return dict(zip(best["layer"], best["percentile"], strict=True))


def unrecovered_layers(table: pd.DataFrame, threshold: float) -> list[str]:
    """Layers whose degradation exceeds ``threshold`` percentage points even at their best cut-off."""
    best = table[table["best"].astype(bool)]
    return best.loc[best["degradation"] > threshold, "layer"].tolist()
