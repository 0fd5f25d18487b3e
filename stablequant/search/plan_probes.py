"""Choose the layers that are recognised in full, from what the screen and the probes so far have measured."""

from collections.abc import Sequence

from stablequant.search.screened import Screened
from stablequant.search.select_layers import ProbeRow, select_layers


def layers_to_probe(
    screen: Sequence[Screened], probes: Sequence[ProbeRow], threshold: float, in_a_row: int
) -> list[str]:
    """Layers whose words have to be counted on the whole calibration set, those already in ``probes`` among them.

    Layers are taken in the order of their divergence on the audio of the screen, the largest first, down to the last
    one that may lose more than ``threshold`` percentage points, and ``in_a_row`` more. A layer may lose that many if

    - on the audio of the screen, the utterances that got worse lost more than this share of the words, or
    - its probe selected it, or does not put it clearly below the threshold: by the interval over utterances, because
      this decides on this calibration set only. Where racing ended a probe early, it was clear enough for racing.

    If the result has only layers that were probed, then the ``in_a_row`` last ones lose clearly less than the
    threshold, and all other layers diverge less than these.
    """
    ordered = sorted(screen, key=lambda row: row["divergence"], reverse=True)
    doubtful = {row["layer"] for row in screen if row["lost"] > threshold / 100 * row["words"]}
    if probes:
        table = select_layers(probes, threshold)
        doubtful |= set(table.loc[table["selected"], "layer"])
        doubtful |= {probe["layer"] for probe in probes if probe["above"] is None and not _is_below(probe, threshold)}
    last = max((place for place, row in enumerate(ordered) if row["layer"] in doubtful), default=-1)
    return [row["layer"] for row in ordered[: last + 1 + in_a_row]]


def _is_below(probe: ProbeRow, threshold: float) -> bool:
    """Whether a layer surely loses at most ``threshold`` points here; a single utterance says nothing."""
    return probe["utterances"] > 1 and probe["high_here"] <= threshold
