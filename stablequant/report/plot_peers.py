"""Plot of the WER of other quantizers' engines against their size and their speed."""

from pathlib import Path

import pandas as pd

from stablequant.report.plot_tradeoff import plot_tradeoff


def plot_peers(table: pd.DataFrame, path: Path) -> None:
    """Draw one model's rows of ``peers.tsv`` as `plot_tradeoff` draws engines. One of the rows must be fp32's.

    All engines are OpenVINO's. Sizes become fractions of fp32's.
    """
    fp32 = table[table["method"] == "fp32"].iloc[0]
    plot_tradeoff(table.assign(backend="openvino", size_ratio=table["size_bytes"] / fp32["size_bytes"]), path)
