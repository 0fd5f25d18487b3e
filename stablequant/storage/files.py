"""Files that are either complete or absent, and the project's formats for tables and JSON."""

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from stablequant.errors import StableQuantError

OWNER = re.compile(r"(?P<place>[0-9a-f]{12})-(?P<process>\d+)-(?P<start>\d+)-\w+")  # in names of temporary files


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, to write a file to.

    When the block ends without an error, the file is synced to disk and renamed to ``path``. Otherwise it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{_owner()}-{secrets.token_hex(4)}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path``, to write files to.

    When the block ends without an error, its files are synced to disk and the folder replaces ``path``. Otherwise it is
    removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.{_owner()}-") as temporary:
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


@cache
def _place() -> str:
    """Twelve letters that name this machine since it was started, and this container on it.

    Processes with the same letters see each other. Where that cannot be known, every process has its own letters.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        container = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return secrets.token_hex(6)
    return hashlib.sha256(f"{boot} {container} {socket.gethostname()}".encode()).hexdigest()[:12]


def _start(process: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None if that cannot be known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19])  # field 22 of proc(5), the third after the name in brackets being the first here
    except (OSError, ValueError, IndexError):
        return None


def _owner() -> str:
    """This process in the names of its temporary files. Process numbers alone occur again, here and elsewhere."""
    return f"{_place()}-{os.getpid()}-{_start(os.getpid()) or 0}"


def _is_running(process: int, start: int) -> bool:
    """Whether the process of this machine and container that started at ``start`` still runs, as far as we can tell."""
    try:
        os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs, for another user
        pass
    return _start(process) in (start, None)


def _sweep(path: Path) -> None:
    """Remove the temporary files beside ``path`` of processes that were killed.

    Those of another machine or container stay: we cannot see whether their processes run.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        owner = OWNER.fullmatch(left.name.removeprefix(f".{path.name}."))
        if owner is None:
            continue
        if owner["place"] != _place():
            logging.info("%s: written on another machine or in another container; remove it if none works here", left)
        elif not _is_running(int(owner["process"]), int(owner["start"])):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


class FileState(NamedTuple):
    """A file, and what changes when its content does. It is hashable, to keep what was read of the file."""

    path: Path
    inode: int
    size: int
    changed: int  # nanoseconds


def state_of(file: Path) -> FileState:
    """The present state of ``file``; raise OSError if there is none."""
    status = file.stat()
    return FileState(file, status.st_ino, status.st_size, status.st_mtime_ns)


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_beside(graph: Path) -> Path:
    """The file for the weights of an ONNX graph that is too large for one file."""
    return graph.with_name(f"{graph.name}.data")


def graph_files(main: Path, names: Sequence[str]) -> dict[str, Path]:
    """Files of a recogniser's graphs by name: the first graph is in ``main``, the others are beside it.

    With ``main`` = ``fp32.onnx``, the graph ``decoder`` is in ``fp32.decoder.onnx``.
    """
    first, *others = names
    return {first: main, **{name: main.with_name(f"{main.stem}.{name}.onnx") for name in others}}


def graph_bytes(graph: Path) -> int:
    """Size of an ONNX graph in bytes, with the file of its weights if there is one."""
    return sum(file.stat().st_size for file in (graph, data_beside(graph)) if file.is_file())


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as JSON, see `replacing`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file; raise `StableQuantError` if it cannot be read. The caller knows, or checks, its form."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StableQuantError(path, f"not readable as JSON ({error})", "restore the file") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` as tab-separated text with a header. An empty cell means: not measured."""
    write_text(path, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read what `write_table` wrote; raise `StableQuantError` if it cannot be read.

    Columns named in ``text`` stay text, even if they look like numbers.
    """
    try:
        return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))
    except (OSError, ValueError) as error:
        raise StableQuantError(path, f"not readable as a table ({error})", "delete it, and run again") from error


@contextmanager
def refusing_damage(path: Path, output: Path | None = None) -> Iterator[None]:
    """Raise errors of safetensors while it reads ``path`` as `StableQuantError`.

    ``output`` is the file that a user must delete so that Snakemake makes ``path`` again, if that is another file.
    """
    remedy = f"delete {output or 'it'}, and run again"
    try:
        yield
    except OSError as error:
        raise StableQuantError(path, f"cannot be read ({error})", remedy) from error
    except SafetensorError as error:
        raise StableQuantError(path, f"damaged or incomplete ({error})", remedy) from error


def read_tensors(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file by name. Only those whose names are ``wanted`` are read."""
    with refusing_damage(path), safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in filter(wanted, file.keys())}
