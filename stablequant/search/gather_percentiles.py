"""The results of all searches in one table."""

from collections.abc import Sequence
from typing import TypedDict

import pandas as pd

from stablequant.search.screened import RECOGNISED

COLUMNS = [
    *("layer", "percentile", "best", "stopped"),
    *("wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence", "utterances"),
    *("measured", "screen_divergence"),
]


class SearchedLayer(TypedDict):
    """Content of ``percentiles/{layer}.json``.

    Attributes
    ----------
    percentile: the best cut-off in percent
    candidates: rows of `stablequant.search.search_percentile.Candidate`, or of a screened search, see
        `stablequant.search.screen_percentiles.rows_of`
    """

    layer: str
    percentile: float
    candidates: list[dict[str, object]]


def gather_percentiles(searches: Sequence[SearchedLayer]) -> pd.DataFrame:
    """One row per searched layer and cut-off with the columns `COLUMNS`.

    ``percentile`` and ``wer`` are in percent; ``degradation``, ``ci_low`` and ``ci_high`` are in percentage points.
    ``ci_over`` says what the bootstrap of the interval draws, ``speakers`` or ``utterances``. ``stopped`` is true if
    racing stopped the cut-off before all audio was recognised. ``measured`` and ``screen_divergence``
    are as in `stablequant.search.select_layers.select_layers`.
    """
    rows = [
        {"layer": search["layer"], "measured": RECOGNISED, **candidate}
        for search in searches
        for candidate in search["candidates"]
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"best": bool, "stopped": bool})


def best_percentiles(table: pd.DataFrame) -> dict[str, float]:
    """The best cut-off, in percent, by layer."""
    best = table[table["best"].astype(bool)]
    return dict(zip(best["layer"], best["percentile"], strict=True))


def overruled(table: pd.DataFrame) -> int:
    """For how many searched layers words overruled the screen: the best cut-off is not that of its least divergence."""
    ranked = table.dropna(subset=["screen_divergence"]).sort_values("screen_divergence", kind="stable")
    return int((~ranked.drop_duplicates("layer")["best"].astype(bool)).sum())


def unrecovered_layers(table: pd.DataFrame, threshold: float) -> list[str]:
    """Layers that no cut-off brings to a degradation of at most ``threshold`` percentage points.

    It need not be the best cut-off that does: of cut-offs that tie in words, the best is the one that diverges least.
    """
    finished = table[~table["stopped"].astype(bool)].dropna(subset=["degradation"])
    least = finished.groupby("layer", sort=False)["degradation"].min()
    return least.index[least > threshold].tolist()
