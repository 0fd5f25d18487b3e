"""The layers that lose too much when quantized alone."""

import pandas as pd

COLUMNS = ["layer", "kind", "wer", "degradation", "ci_low", "ci_high", "divergence", "utterances"]


def most_sensitive(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` rows of ``sensitivity.tsv`` that lose most, ties broken by divergence."""
    return table.sort_values(["degradation", "divergence"], ascending=False).head(count)


def select_layers(probes: list[dict], threshold: float) -> pd.DataFrame:
    """One row per probed layer; ``selected`` where the degradation exceeds ``threshold`` points, or racing decided so.

    Racing counts errors against the words of all audio; what it heard may by chance hold more or fewer than its share.

    ``sure`` is false where the degradation's interval holds the threshold, so that other audio might decide otherwise,
    and of a single utterance, whose interval says nothing.
    """
    table = pd.DataFrame(probes)[COLUMNS]
    table["selected"] = [
        probe["degradation"] > threshold if probe["above"] is None else probe["above"] for probe in probes
    ]
    apart = (table["ci_low"] > threshold) | (table["ci_high"] <= threshold)
    table["sure"] = apart & (table["utterances"] > 1)
    return table
