"""The table of quantized modules, ``layers.tsv``."""

from dataclasses import fields
from pathlib import Path

from stablequant.files import read_table
from stablequant.layers import QuantizedModule


def read_modules(path: Path) -> list[QuantizedModule]:
    """The quantized modules of ``layers.tsv``."""
    table = read_table(path)
    columns = (table[field.name].astype(str) for field in fields(QuantizedModule))
    return [QuantizedModule(*row) for row in zip(*columns, strict=True)]
