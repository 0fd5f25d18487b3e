"""The files of a checkpoint's processor: the settings of its features, and its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.recognisers.entries import read_settings
from stablequant.recognisers.sources import processor_folders

PREPROCESSOR = "preprocessor_config.json"


def processor_file(folder: Path, name: str) -> Path:
    """The file ``name`` of the processor of the checkpoint in ``folder``; it is missing if no folder holds it."""
    return next((file for place in processor_folders(folder) if (file := place / name).is_file()), folder / name)


def read_preprocessor(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file with the settings of the preprocessor, and these settings."""
    for place in processor_folders(folder):
        alone, together = place / PREPROCESSOR, place / "processor_config.json"
        if alone.is_file():
            return alone, read_optional(alone)
        settings = read_optional(together).get("feature_extractor")  # transformers 5 writes this file for a processor
        if isinstance(settings, dict):
            return together, settings
    raise StableQuantError(folder / PREPROCESSOR, "the file does not exist", "complete the checkpoint's folder")


def read_optional(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``, empty if there is no such file; raise `StableQuantError` if it is damaged."""
    return dict(read_settings(file)) if file.is_file() else {}
