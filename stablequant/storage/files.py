"""Files that are either whole or absent, and the two table formats of the project."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from stablequant.errors import StableQuantError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place, synced, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` that takes its place, synced, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.{os.getpid()}.") as temporary:
        making = Path(temporary) / path.name
        making.mkdir()
        yield making
        for file in making.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            shutil.rmtree(path)
        making.rename(path)


def _sync(file: Path) -> None:
    with file.open("rb") as content:
        os.fsync(content.fileno())


def _sweep(path: Path) -> None:
    """Remove what processes that were killed left beside ``path`` while they made it."""
    if not Path("/proc/self").exists():  # nobody tells here who is alive
        return
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        process = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def checksum(file: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_beside(graph: Path) -> Path:
    """Where the weights of an ONNX graph lie that is too large for one file."""
    return graph.with_name(f"{graph.name}.data")


def graph_bytes(graph: Path) -> int:
    """Size of an ONNX graph's file or files."""
    return sum(file.stat().st_size for file in (graph, data_beside(graph)) if file.is_file())


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StableQuantError(path, f"not readable as JSON ({error})", "restore the file") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Tab-separated with a header; an empty cell is a number that was not measured."""
    write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """The inverse of `write_table`. Columns named in ``text`` stay text even where they look like numbers."""
    try:
        return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))
    except (OSError, ValueError) as error:
        raise StableQuantError(path, f"not readable as a table ({error})", "delete it, and run again") from error


@contextmanager
def refusing_damage(path: Path, output: Path | None = None) -> Iterator[None]:
    """Turn what safetensors raises while it reads ``path`` into a `StableQuantError`.

    ``output`` is what Snakemake must miss to make the file again, where that is another one.
    """
    remedy = f"delete {output or 'it'}, and run again"
    try:
        yield
    except OSError as error:
        raise StableQuantError(path, f"cannot be read ({error})", remedy) from error
    except SafetensorError as error:
        raise StableQuantError(path, f"damaged or incomplete ({error})", remedy) from error


def read_tensors(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file whose names are ``wanted``; others are not read."""
    with refusing_damage(path), safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in filter(wanted, file.keys())}
