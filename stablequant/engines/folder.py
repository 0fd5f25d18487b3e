"""An engine's folder: the built network, what stands before and behind it, and how it was made."""

import math
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stablequant.engines.precision import BFLOAT16, FLOAT32
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FILES, INPUT, OUTPUT
from stablequant.storage.files import read_json, replacing_folder, write_json, write_table
from stablequant.workflow.provenance import FILE

PRECISION = "precision.tsv"


def write_engine(
    folder: Path,
    checkpoint: Path,
    build: Callable[[Path], None],
    description: dict,
    inspect: Callable[[Path], pd.DataFrame] | None = None,
    provenance: dict | None = None,
) -> int:
    """Let ``build`` fill a folder, add the front end and ``engine.json``, then put it in ``folder``'s place.

    ``inspect`` looks at what was built and returns the table that becomes ``precision.tsv``; ``provenance`` is stored
    too. Returns the size in bytes of what was built.
    """
    with replacing_folder(folder) as building:
        build(building)
        size = sum(file.stat().st_size for file in building.iterdir())
        if inspect:
            write_table(building / PRECISION, inspect(building))
        if provenance:
            write_json(building / FILE, provenance)
        for name in FILES:
            shutil.copyfile(checkpoint / name, building / name)
        write_json(building / "engine.json", {**description, "size_bytes": size})
    return size


def read_engine(folder: Path) -> dict:
    """The description written by `write_engine`; raise `StableQuantError` where it is none."""
    description = read_json(folder / "engine.json")
    if not _is_description(description):
        raise StableQuantError(folder / "engine.json", "not an engine's description", "build the engine again")
    return description


def _is_description(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("backend"), str):
        return False
    if content.get("floating", FLOAT32) not in (FLOAT32, BFLOAT16):
        return False
    if not content["backend"].startswith("tensorrt"):
        return True
    profile, capabilities = content.get("profile"), content.get("compute_capabilities")
    return (
        isinstance(profile, dict)
        and isinstance(profile.get("max_batch"), int)
        and isinstance(capabilities, list)
        and all(isinstance(capability, str) for capability in capabilities)
        and isinstance(content.get("version"), str)
    )


def check_recogniser(tensors: Sequence[tuple[Collection[str], int | None]], file: Path) -> None:
    """Raise `StableQuantError` unless ``tensors`` are those of a recogniser: of each of a network's inputs and outputs
    the names it goes by, and the number of its axes, None where that is open."""
    wanted = [(INPUT, 2), (OUTPUT, 3)]
    fit = [name in names and axes == rank for (names, axes), (name, rank) in zip(tensors, wanted, strict=False)]
    if len(tensors) != len(wanted) or not all(fit):
        found = ", ".join(f"{' or '.join(sorted(names)) or 'nothing'} of {axes} axes" for names, axes in tensors)
        raise StableQuantError(
            file, f"a network of {found}, not of a recogniser's {INPUT} and {OUTPUT}", "build the engine again"
        )


def max_batch(folder: Path) -> float:
    """How many utterances the engine in ``folder`` takes at once; only TensorRT's are limited."""
    description = read_engine(folder)
    return description["profile"]["max_batch"] if "profile" in description else math.inf
