"""Read the table of the quantized modules, ``layers.tsv``. No torch is imported: engines are built without it."""

from dataclasses import fields
from pathlib import Path

from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import read_table


def read_modules(path: Path) -> list[QuantizedModule]:
    """The quantized modules in ``layers.tsv``."""
    table = read_table(path)
    columns = (table[field.name].fillna("").astype(str) for field in fields(QuantizedModule))
    return [QuantizedModule(*row) for row in zip(*columns, strict=True)]
