"""Select the layers whose degradation is too large when only this layer is quantized."""

from collections.abc import Sequence
from typing import TypedDict

import pandas as pd

COLUMNS = ["layer", "kind", "wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence", "utterances"]


def most_sensitive(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` rows of ``sensitivity.tsv`` with the largest degradation, the largest first.

    Of equals, those with the larger divergence come first, and then those that come first in the table.
    """
    return table.sort_values(["degradation", "divergence"], ascending=False, kind="stable").head(count)


class ProbeRow(TypedDict):
    """What this module reads of a row of ``sensitivity/{layers}.json``, see `stablequant.search.probe_layer.Probe`."""

    layer: str
    kind: str
    wer: float
    degradation: float
    ci_low: float
    ci_high: float
    ci_over: str
    divergence: float
    utterances: int
    above: bool | None


def select_layers(probes: Sequence[ProbeRow], threshold: float) -> pd.DataFrame:
    """One row per probed layer with `COLUMNS`, ``selected`` and ``sure``.

    ``selected`` is the decision of racing if it stopped early, otherwise whether the degradation exceeds ``threshold``
    (percentage points). The decision of racing can differ from the degradation: racing relates errors to the words of
    all audio, the degradation relates them to the words of the recognised part.

    ``sure`` is false if the interval of the degradation contains the threshold, because other audio might lead to
    another decision. It is also false for a single utterance, because its interval is meaningless.
    """
    table = pd.DataFrame(probes)[COLUMNS]
    table["selected"] = [
        probe["degradation"] > threshold if probe["above"] is None else probe["above"] for probe in probes
    ]
    apart = (table["ci_low"] > threshold) | (table["ci_high"] <= threshold)
    table["sure"] = apart & (table["utterances"] > 1)
    return table
