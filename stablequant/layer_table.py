"""The table of quantized modules, ``layers.tsv``."""

from pathlib import Path

from stablequant.files import read_table
from stablequant.layers import QuantizedModule


def read_modules(path: Path) -> list[QuantizedModule]:
    """The quantized modules of ``layers.tsv``."""
    columns = list(QuantizedModule.__dataclass_fields__)
    return [QuantizedModule(**row) for row in read_table(path)[columns].to_dict("records")]
