"""Choose the layers that are recognised in full, from what the screen and the probes so far have measured."""

from collections.abc import Sequence

import pandas as pd

from stablequant.search.screened import Screened
from stablequant.search.select_layers import ProbeRow, select_layers


def layers_to_probe(
    screen: Sequence[Screened], probes: Sequence[ProbeRow], threshold: float, in_a_row: int
) -> list[str]:
    """Layers whose words have to be counted on the whole calibration set, those already in ``probes`` among them.

    Layers are taken in the order of their divergence on the audio of the screen, the largest first, down to the last
    one that may lose more than ``threshold`` percentage points, and ``in_a_row`` more. A layer may lose that many if

    - on the audio of the screen, the utterances that got worse lost more than this share of the words, or
    - its probe does not put it clearly below the threshold, see `select_layers`; where racing ended a probe early, it
      was clear enough for racing.

    If the result has only layers that were probed, then the ``in_a_row`` last ones lose clearly less than the
    threshold, and all other layers diverge less than these.
    """
    ordered = sorted(screen, key=lambda row: row["divergence"], reverse=True)
    doubtful = {row["layer"] for row in screen if row["lost"] > threshold / 100 * row["words"]}
    if probes:
        table = select_layers(probes, threshold)
        raced = pd.Series([probe["above"] is not None for probe in probes])
        doubtful |= set(table.loc[table["selected"] | ~(table["sure"] | raced), "layer"])
    last = max((place for place, row in enumerate(ordered) if row["layer"] in doubtful), default=-1)
    return [row["layer"] for row in ordered[: last + 1 + in_a_row]]
