"""What all searches found, in one table."""

from collections.abc import Mapping, Sequence

import pandas as pd

COLUMNS = [
    *("layer", "percentile", "best", "stopped", "wer", "degradation", "ci_low", "ci_high", "divergence", "utterances"),
]


def gather_percentiles(searches: Sequence[Mapping]) -> pd.DataFrame:
    """One row per searched layer and cut-off; ``stopped`` where it was given up before all audio was recognised."""
    rows = [{"layer": search["layer"], **candidate} for search in searches for candidate in search["candidates"]]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"best": bool, "stopped": bool})


def best_percentiles(table: pd.DataFrame) -> dict[str, float]:
    """Best cut-off by layer."""
    best = table[table["best"].astype(bool)]
    return dict(zip(best["layer"], best["percentile"], strict=True))


def unrecovered_layers(table: pd.DataFrame, threshold: float) -> list[str]:
    """Layers that lose more than ``threshold`` points even at their best cut-off."""
    best = table[table["best"].astype(bool)]
    return best.loc[best["degradation"] > threshold, "layer"].tolist()
