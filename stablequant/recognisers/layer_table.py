"""Read the table of the quantized modules, ``layers.tsv``. No torch is imported: engines are built without it."""

from dataclasses import fields
from pathlib import Path

from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import read_table


def read_modules(path: Path) -> list[QuantizedModule]:
    """The quantized modules in ``layers.tsv``."""
    names = [field.name for field in fields(QuantizedModule)]
    table = read_table(path, text=names).reindex(columns=names, fill_value="").fillna("")  # earlier versions had fewer
    return [QuantizedModule(*row) for row in table.itertuples(index=False)]
