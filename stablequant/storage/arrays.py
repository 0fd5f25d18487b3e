"""Many arrays in one safetensors file, written and read one at a time.

The writer of safetensors needs all arrays in memory at once. This writer reserves space for the header, appends the
arrays, and writes the header last. It pads the header with spaces, which the format allows, so any safetensors reader
can open the file.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
from safetensors import safe_open

from stablequant.errors import StableQuantError
from stablequant.storage.files import refusing_damage, replacing

NAMES = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32", np.dtype(np.int32): "I32"}
LENGTH_BYTES = 8  # the length of the header, little endian
HEADER_BYTES = 100_000_000  # the format's limit
ENTRY_BYTES = 160  # enough for one entry of the header without its name


class Entry(TypedDict):
    """One array in the header, as the safetensors format defines it."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: list[int]


class ArrayWriter:
    """Appends arrays behind the reserved header of a file. `writing_arrays` creates it."""

    def __init__(self, file: BinaryIO, reserved: int) -> None:
        self._file, self._reserved = file, reserved
        self._entries: dict[str, Entry] = {}
        self._end = 0
        file.write(bytes(LENGTH_BYTES + reserved))

    def write(self, name: str, array: np.ndarray) -> None:
        """Append ``array`` (float16, float32 or int32, any shape) under the name ``name``."""
        content = np.ascontiguousarray(array)
        self._file.write(content.data)
        offsets = [self._end, self._end + content.nbytes]
        self._entries[name] = {"dtype": NAMES[content.dtype], "shape": content.shape, "data_offsets": offsets}
        self._end += content.nbytes

    def close(self) -> None:
        """Write the header; raise ValueError if its entries need more space than was reserved."""
        header = json.dumps(self._entries).encode().ljust(self._reserved)
        if len(header) > self._reserved:
            raise ValueError("more arrays, or longer names, than were announced")
        self._file.seek(0)
        self._file.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)


@contextmanager
def writing_arrays(path: Path, names: Iterable[str]) -> Iterator[ArrayWriter]:
    """A writer for the file ``path``. The file appears when the block ends without an error.

    ``names`` are the names of all arrays that will be written. They decide how much space the header gets.

    Raises
    ------
    StableQuantError
        when there are more arrays than a safetensors file can hold (about 450,000).
    """
    reserved = 2 + sum(len(json.dumps(name)) + ENTRY_BYTES for name in names)
    if reserved > HEADER_BYTES:
        raise StableQuantError(path, "too many arrays for one safetensors file", "use fewer utterances")
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = ArrayWriter(file, reserved)
        yield writer
        writer.close()


class ArrayReader:
    """The arrays of a safetensors file by name. An array is read from disk when it is requested.

    ``output`` is the file that a user must delete so that Snakemake makes ``path`` again, if that is another file.

    Raises
    ------
    StableQuantError
        when the file is missing, incomplete or damaged, or has no array with the requested name.
    """

    def __init__(self, path: Path, output: Path | None = None) -> None:
        self.path, self._output = path, output
        with refusing_damage(path, output):
            # With "mmap", everything that was read would count as memory of this process until the file is closed.
            self._file: Any = safe_open(path, "numpy", backend="pread")

    @property
    def names(self) -> list[str]:
        """Names of all arrays."""
        return list(self._file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        with refusing_damage(self.path, self._output):
            array: np.ndarray = self._file.get_tensor(name)
            return array
