"""What a screen measures, and the values of the column ``measured``: what a layer or a cut-off was measured on."""

from typing import TypedDict

RECOGNISED = "recognised"  # all of the calibration set, or as much as racing needed: its words were counted
SCREENED = "screened"  # the audio of the screen: only its divergence counts


class Screened(TypedDict):
    """What was measured of one layer on the audio of the screen, a row of ``screen.json``.

    Attributes
    ----------
    divergence: divergence of the posteriors from fp32's, in nats per position
    lost: words lost in the utterances that got worse; utterances that got better do not count
    words: words in the transcripts of the utterances
    utterances: number of utterances
    """

    layer: str
    kind: str
    divergence: float
    lost: int
    words: int
    utterances: int
