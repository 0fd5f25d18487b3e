"""An engine's folder: the built network, what stands before and behind it, and how it was made."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from stablequant import front_end
from stablequant.files import read_json, write_json


def write_engine(folder: Path, checkpoint: Path, build: Callable[[Path], None], description: dict) -> int:
    """Let ``build`` fill a folder, add the front end and ``engine.json``, then put it in ``folder``'s place.

    Returns the size in bytes of what was built.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".building-") as temporary:
        building = Path(temporary) / "engine"
        building.mkdir()
        build(building)
        size = sum(file.stat().st_size for file in building.iterdir())
        for name in front_end.FILES:
            shutil.copyfile(checkpoint / name, building / name)
        write_json(building / "engine.json", {**description, "size_bytes": size})
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    return size


def read_engine(folder: Path) -> dict:
    """The description written by `write_engine`."""
    return read_json(folder / "engine.json")
