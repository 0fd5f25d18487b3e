"""Many arrays in one safetensors file, written as they come and read back one at a time.

safetensors' own writer wants all of them in memory at once. Here the space of the header is reserved, the arrays are
appended, and the header is filled in last, padded with spaces as the format allows: any safetensors reader opens it.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.storage.files import replacing

DTYPES = {"F16": np.float16, "F32": np.float32}
NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}
LENGTH_BYTES = 8  # little endian, the header's length
ENTRY_BYTES = 160  # of the header, enough for one entry without its name


class ArrayWriter:
    """Appends arrays to a file whose header was left free; made by `writing_arrays`."""

    def __init__(self, file: BinaryIO, reserved: int) -> None:
        self._file, self._reserved = file, reserved
        self._entries: dict[str, dict[str, Any]] = {}
        self._end = 0
        file.write(bytes(LENGTH_BYTES + reserved))

    def write(self, name: str, array: np.ndarray) -> None:
        """Append ``array``, float16 or float32, as ``name``."""
        content = np.ascontiguousarray(array)
        self._file.write(content.data)
        offsets = [self._end, self._end + content.nbytes]
        self._entries[name] = {"dtype": NAMES[content.dtype], "shape": content.shape, "data_offsets": offsets}
        self._end += content.nbytes

    def close(self) -> None:
        header = json.dumps(self._entries).encode().ljust(self._reserved)
        if len(header) > self._reserved:
            raise ValueError("more arrays, or longer names, than were announced")
        self._file.seek(0)
        self._file.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)


@contextmanager
def writing_arrays(path: Path, names: Iterable[str]) -> Iterator[ArrayWriter]:
    """A writer of ``path``, which appears when the block ends without an error; ``names`` announces the arrays."""
    reserved = 2 + sum(len(json.dumps(name)) + ENTRY_BYTES for name in names)
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = ArrayWriter(file, reserved)
        yield writer
        writer.close()


class ArrayReader:
    """The arrays of a file by name, each mapped into memory only while it is held.

    ``output`` is what Snakemake must miss to make the file again, where that is another one.

    Raises
    ------
    StableQuantError
        when the file is missing, incomplete or not what `ArrayWriter` writes.
    """

    def __init__(self, path: Path, output: Path | None = None) -> None:
        self.path = path
        remedy = f"delete {output or 'it'}, and run again"
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(LENGTH_BYTES), "little")
                size = path.stat().st_size
                self._entries = json.loads(file.read(min(length, size)))
            self._start = LENGTH_BYTES + length
            end = max((entry["data_offsets"][1] for entry in self._entries.values()), default=0)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StableQuantError(path, f"not readable as stored arrays ({error})", remedy) from error
        if size != self._start + end:
            raise StableQuantError(path, f"{size} bytes, not {self._start + end}: its writing was interrupted", remedy)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        shape = tuple(entry["shape"])
        dtype = DTYPES[entry["dtype"]]
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(self.path, dtype, "r", self._start + entry["data_offsets"][0], shape)
