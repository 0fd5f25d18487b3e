"""The folder of an engine: the built networks, the files around them, and a description."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from stablequant.engines.description import Description
from stablequant.engines.precision import BFLOAT16, FLOAT32
from stablequant.errors import StableQuantError
from stablequant.storage.files import read_json, replacing_folder, write_json, write_table
from stablequant.workflow.provenance import FILE

DESCRIPTION = "engine.json"
PRECISION = "precision.tsv"
EVALUATED = "evaluated"  # status of an engine that ran
GPU = "a GPU"  # machine of an engine that ran on one


def write_engine(
    folder: Path,
    files: Mapping[str, Path],
    build: Callable[[Path], Description],
    inspect: Callable[[Path, Description], pd.DataFrame],
    provenance: Mapping[str, object] | None = None,
) -> int:
    """Write an engine into ``folder``, which appears complete or not at all; return the size of the networks in bytes.

    Parameters
    ----------
    files: files to copy, by their name in the folder
    build: builds the networks into a folder and returns the content of ``engine.json``
    inspect: returns the table ``precision.tsv`` of what was built
    provenance: content of `provenance.json`; without it the file is not written
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


def read_engine(folder: Path) -> Description:
    """The description that `write_engine` wrote; raise `StableQuantError` if it is damaged."""
    description: Description = read_json(folder / DESCRIPTION)
    valid = (
        isinstance(description, dict)
        and isinstance(description.get("backend"), str)
        and description.get("floating", FLOAT32) in (FLOAT32, BFLOAT16)
        and isinstance(files := description.get("files", {}), dict)
        and all(isinstance(path, str) for path in files.values())
    )
    if not valid:
        raise StableQuantError(folder / DESCRIPTION, "not an engine's description", "build the engine again")
    return description


def network_file(folder: Path, description: Description, name: str) -> Path:
    """The network ``name`` of the engine in ``folder``. In a bundle it may lie where other programs look for it."""
    return folder / description.get("files", {}).get(name, name)
