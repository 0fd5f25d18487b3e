"""Entries of a checkpoint's JSON files. They come from strangers, so their types and sizes are checked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from stablequant.errors import StableQuantError
from stablequant.storage.files import read_json

Entry = TypeVar("Entry", int, bool, float)
LARGEST = 2**20  # no size in a published checkpoint is larger


def read_settings(file: Path) -> Mapping[str, object]:
    """The JSON object in ``file``; raise `StableQuantError` if it cannot be read or is something else."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise StableQuantError(file, "not a JSON object", "restore the file")
    return content


def read_entry(file: Path, key: str, kind: type[Entry]) -> Entry:
    """The entry ``key`` of the JSON object in ``file``; raise `StableQuantError` if it is not of the type ``kind``."""
    value = read_settings(file).get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise StableQuantError(file, f"no {kind.__name__} '{key}'", "complete the checkpoint's folder")
    return value


def size_of(settings: Mapping[str, object], key: str, file: Path) -> int:
    """The entry ``key`` of ``settings``, which were read from ``file``: a whole number from 1 to `LARGEST`.

    Raises `StableQuantError` if it is something else.
    """
    size = settings.get(key)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= LARGEST:
        raise StableQuantError(file, f"'{key}' is {size!r}", "restore the file")
    return size


@contextmanager
def reading_config(file: Path) -> Iterator[None]:
    """Raise `StableQuantError` for what goes wrong while numbers are computed from a damaged ``config.json``."""
    try:
        yield
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise StableQuantError(file, f"not a recogniser's configuration ({error!r})", "restore the file") from error
