"""The folder of cached hidden values beside their index."""

import shutil
from pathlib import Path

from stablequant.storage.locks import locked


def folder_of(index: Path) -> Path:
    """The folder with the files of the cache ``index``."""
    return index.with_suffix("")


def file_of(index: Path, layer: str) -> Path:
    """The file with the inputs of ``layer``, for all batches."""
    return folder_of(index) / f"{layer}.safetensors"


def remove_cache(index: Path) -> int:
    """Remove the folder of the cache ``index``; return its size in bytes, 0 if there is none.

    If another process reads or writes the cache, wait until it ends.
    """
    with locked(folder_of(index)):
        return remove_folder(index)


def remove_folder(index: Path) -> int:
    """`remove_cache` for a process that holds the lock."""
    folder = folder_of(index)
    doomed = folder.with_name(f".{folder.name}")  # renamed first, so that a kill never leaves an incomplete cache
    shutil.rmtree(doomed, ignore_errors=True)
    if not folder.is_dir():
        return 0
    size = sum(file.stat().st_size for file in folder.iterdir())
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    return size
