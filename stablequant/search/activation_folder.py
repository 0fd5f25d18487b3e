"""Where stored activations lie beside their index, and their removal."""

import shutil
from pathlib import Path


def folder_of(index: Path) -> Path:
    """Where the files of ``index`` lie."""
    return index.with_suffix("")


def file_of(index: Path, layer: str) -> Path:
    """What enters ``layer``, one array per batch."""
    return folder_of(index) / f"{layer}.safetensors"


def release(index: Path) -> int:
    """Remove what is stored once nothing needs it any more; return its size in bytes."""
    folder = folder_of(index)
    doomed = folder.with_name(f".{folder.name}")  # never half of it under its name
    shutil.rmtree(doomed, ignore_errors=True)
    if not folder.is_dir():
        return 0
    size = sum(file.stat().st_size for file in folder.iterdir())
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    return size
