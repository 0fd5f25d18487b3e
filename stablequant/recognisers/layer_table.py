"""The table of quantized modules, ``layers.tsv``."""

from dataclasses import fields
from pathlib import Path

from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.storage.files import read_table


def read_modules(path: Path) -> list[QuantizedModule]:
    """The quantized modules of ``layers.tsv``."""
    table = read_table(path)
    columns = (table[field.name].astype(str) for field in fields(QuantizedModule))
    return [QuantizedModule(*row) for row in zip(*columns, strict=True)]
