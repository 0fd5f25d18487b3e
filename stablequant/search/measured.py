"""Values of the column ``measured``: on which audio a layer or a cut-off was measured."""

RECOGNISED = "recognised"  # all of the calibration set, or as much as racing needed: its words were counted
SCREENED = "screened"  # the audio of the screen: only its divergence counts
