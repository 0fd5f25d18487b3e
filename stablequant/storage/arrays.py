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
from safetensors import safe_open

from stablequant.errors import StableQuantError
from stablequant.storage.files import refusing_damage, replacing

NAMES = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
LENGTH_BYTES = 8  # little endian, the header's length
HEADER_BYTES = 100_000_000  # at most, says the format
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
    """A writer of ``path``, which appears when the block ends without an error; ``names`` announces the arrays.

    Raises
    ------
    StableQuantError
        when they are more than a safetensors file can hold, which is some 450,000.
    """
    reserved = 2 + sum(len(json.dumps(name)) + ENTRY_BYTES for name in names)
    if reserved > HEADER_BYTES:
        raise StableQuantError(path, "too many arrays for one safetensors file", "use fewer utterances")
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = ArrayWriter(file, reserved)
        yield writer
        writer.close()


class ArrayReader:
    """The arrays of a safetensors file by name, each read when it is asked for.

    ``output`` is what Snakemake must miss to make the file again, where that is another one.

    Raises
    ------
    StableQuantError
        when the file is missing, incomplete or damaged, or has no array of that name.
    """

    def __init__(self, path: Path, output: Path | None = None) -> None:
        self.path, self._output = path, output
        with refusing_damage(path, output):
            # With "mmap" all that was ever read would count as this process's memory as long as the file is open.
            self._file = safe_open(path, "numpy", backend="pread")

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        with refusing_damage(self.path, self._output):
            return self._file.get_tensor(name)
