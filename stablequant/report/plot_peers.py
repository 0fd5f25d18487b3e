"""Plot of WER against speed, for engines by other quantizers."""

from pathlib import Path

import pandas as pd

from stablequant.report.plot_tradeoff import plot_tradeoff

COLUMNS = ("model", "method", "wer", "size_bytes", "rtfx")


def plot_peers(table: pd.DataFrame, path: Path) -> None:
    """Draw the rows of one model in ``peers.tsv``, see `plot_tradeoff`. One of the rows must be fp32.

    The methods' names say enough, so all engines are drawn as OpenVINO's. Sizes and speeds are told as multiples of
    those of fp32. There are too many engines to draw their sizes, too: most have nearly the same.
    """
    fp32 = table[table["method"] == "fp32"].iloc[0]
    ratios = {"size_ratio": table["size_bytes"] / fp32["size_bytes"], "speedup": table["rtfx"] / fp32["rtfx"]}
    plot_tradeoff(table.assign(backend="openvino", **ratios), path, against=["rtfx"])
