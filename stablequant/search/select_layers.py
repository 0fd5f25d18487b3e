"""Select the layers whose degradation is too large when only this layer is quantized."""

from collections.abc import Sequence
from typing import TypedDict

import pandas as pd

from stablequant.search.screened import RECOGNISED, SCREENED, Screened

COLUMNS = ["layer", "kind", "wer", "degradation", "ci_low", "ci_high", "ci_over", "divergence", "utterances"]


def most_sensitive(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` rows of ``sensitivity.tsv`` with the largest degradation, the largest first.

    Of equals, those with the larger divergence come first, and then those that come first in the table. Layers that
    were only screened come after those that were recognised.
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
    high_here: float


def select_layers(probes: Sequence[ProbeRow], threshold: float, screen: Sequence[Screened] = ()) -> pd.DataFrame:
    """One row per layer with `COLUMNS`, ``measured``, ``screen_divergence``, ``selected`` and ``sure``.

    ``selected`` is the decision of racing if it stopped early, otherwise whether the degradation exceeds ``threshold``
    (percentage points). The decision of racing can differ from the degradation: racing relates errors to the words of
    all audio, the degradation relates them to the words of the recognised part.

    ``sure`` is false if the interval of the degradation contains the threshold, because other audio might lead to
    another decision. It is also false for a single utterance, because its interval is meaningless.

    Layers of ``screen`` that no probe recognised are not selected. Their divergence is that of the screen's audio.
    Their WER was not measured, so neither was ``sure``. ``measured`` is `SCREENED` for them and `RECOGNISED` for the
    others. ``screen_divergence`` is the divergence of every layer on the screen's audio, in nats per position. It is
    empty without a screen. With a screen the layers come in its order.
    """
    table = pd.DataFrame(probes)[COLUMNS]
    table["measured"] = RECOGNISED
    table["screen_divergence"] = float("nan")
    table["selected"] = [
        probe["degradation"] > threshold if probe["above"] is None else probe["above"] for probe in probes
    ]
    apart = (table["ci_low"] > threshold) | (table["ci_high"] <= threshold)
    table["sure"] = (apart & (table["utterances"] > 1)).astype("boolean")
    return _with_screen(table, screen) if screen else table


def _with_screen(table: pd.DataFrame, screen: Sequence[Screened]) -> pd.DataFrame:
    found = pd.DataFrame(screen)
    only = found[~found["layer"].isin(table["layer"])][["layer", "kind", "divergence", "utterances"]]
    only = only.assign(measured=SCREENED, selected=False).reindex(columns=table.columns)
    both = pd.concat([table, only.astype({"sure": "boolean"})]) if len(only) else table
    both = both.set_index("layer").loc[found["layer"]].reset_index()
    both["screen_divergence"] = found["divergence"]
    return both.astype({"selected": bool})


def overruled(table: pd.DataFrame) -> int:
    """For how many of the selected layers in ``sensitivity.tsv`` words overruled the screen.

    Of n selected layers, these are all but those among the n layers that diverge most on the screen's audio.
    """
    ranked = table.sort_values("screen_divergence", ascending=False, kind="stable")["selected"].astype(bool)
    selected = int(ranked.sum())
    return selected - int(ranked.head(selected).sum())
