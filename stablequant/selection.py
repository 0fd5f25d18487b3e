"""The layers that lose too much when quantized alone."""

import pandas as pd

COLUMNS = ["layer", "kind", "wer", "degradation", "ci_low", "ci_high", "divergence", "utterances"]


def select_layers(probes: list[dict], threshold: float) -> pd.DataFrame:
    """One row per probed layer; ``selected`` where the degradation exceeds ``threshold`` points.

    ``sure`` is false where the degradation's interval holds the threshold, so that other audio might decide otherwise,
    and of a single utterance, whose interval says nothing.
    """
    table = pd.DataFrame(probes)[COLUMNS]
    table["selected"] = table["degradation"] > threshold
    apart = (table["ci_low"] > threshold) | (table["ci_high"] <= threshold)
    table["sure"] = apart & (table["utterances"] > 1)
    return table
