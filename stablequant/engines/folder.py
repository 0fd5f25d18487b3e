"""An engine's folder: the built networks, what stands before and behind them, and how it was made."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stablequant.engines.precision import BFLOAT16, FLOAT32
from stablequant.errors import StableQuantError
from stablequant.storage.files import read_json, replacing_folder, write_json, write_table
from stablequant.workflow.provenance import FILE

DESCRIPTION = "engine.json"
PRECISION = "precision.tsv"
EVALUATED = "evaluated"  # status of an engine that ran


def write_engine(
    folder: Path,
    files: Mapping[str, Path],
    build: Callable[[Path], dict[str, Any]],
    inspect: Callable[[Path, Mapping[str, Any]], pd.DataFrame],
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Let ``build`` fill a folder, add ``files`` by name and the description, then put it in ``folder``'s place.

    ``build`` returns what becomes ``engine.json``. ``inspect`` looks at what was built and returns the table that
    becomes ``precision.tsv``; ``provenance`` is stored too. Returns the size in bytes of what was built.
    """
    with replacing_folder(folder) as building:
        description = build(building)
        size = sum(file.stat().st_size for file in building.iterdir())
        write_table(building / PRECISION, inspect(building, description))
        if provenance:
            write_json(building / FILE, provenance)
        for name, source in files.items():
            shutil.copyfile(source, building / name)
        write_json(building / DESCRIPTION, {**description, "size_bytes": size})
    return size


def read_engine(folder: Path) -> dict[str, Any]:
    """The description written by `write_engine`; raise `StableQuantError` where it is none."""
    description = read_json(folder / DESCRIPTION)
    valid = (
        isinstance(description, dict)
        and isinstance(description.get("backend"), str)
        and description.get("floating", FLOAT32) in (FLOAT32, BFLOAT16)
    )
    if not valid:
        raise StableQuantError(folder / DESCRIPTION, "not an engine's description", "build the engine again")
    found: dict[str, Any] = description
    return found
