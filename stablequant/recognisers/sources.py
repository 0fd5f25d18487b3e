"""Where a checkpoint comes from: a folder in Hugging Face layout, a single file, or the hub."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from stablequant.errors import StableQuantError

HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def is_hub_identifier(source: str) -> bool:
    """Whether ``source`` is ``owner/name`` or ``owner/name@revision`` on the Hugging Face hub and no local path."""
    return not Path(source).exists() and HUB.fullmatch(source) is not None


def check_source(source: str, place: str) -> None:
    """Raise `StableQuantError`, naming ``place``, unless ``source`` exists or may be on the hub."""
    if not Path(source).exists() and not is_hub_identifier(source):
        raise StableQuantError(
            place, f"'{source}' is no file, no folder and no owner/name on the hub", "correct the path"
        )


def checkpoint_files(source: str) -> list[str]:
    """Local files that the checkpoint consists of, with dictionaries beside a single file; none of one on the hub."""
    path = Path(source)
    if is_hub_identifier(source):
        return []
    if path.is_file():
        return [source, *sorted(str(file) for file in path.parent.glob("dict.*.txt"))]
    return sorted(str(file) for file in path.iterdir() if file.is_file())


def read_config(folder: Path) -> Mapping[str, object]:
    """The ``config.json`` of a checkpoint's folder."""
    file = folder / "config.json"
    if not file.is_file():
        raise StableQuantError(file, "the file does not exist", "name the folder of a checkpoint, or correct the path")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StableQuantError(file, f"not readable as JSON ({error})", "restore the file") from error
    if not isinstance(config, dict):
        raise StableQuantError(file, "not a model's configuration", "restore it")
    return config
