"""Print a comparison table for a terminal: ``python -m stablequant.show results/demo/comparison.tsv``."""

import sys
from pathlib import Path

from stablequant.files import read_table

SHOWN = ["backend", "method", "wer", "degradation", "ci_low", "ci_high", "size_ratio", "onnx_ratio", "rtfx", "status"]
DIGITS = {"wer": 2, "degradation": 2, "ci_low": 2, "ci_high": 2, "size_ratio": 3, "onnx_ratio": 3, "rtfx": 0}


def show(path: Path) -> str:
    """The table's main columns as text; WER and degradation in points, an empty cell was not measured."""
    table = read_table(path)[SHOWN]
    formats = {column: f"{{:.{digits}f}}".format for column, digits in DIGITS.items()}
    return table.to_string(index=False, na_rep="", formatters=formats)


if __name__ == "__main__":
    print(show(Path(sys.argv[1])))
