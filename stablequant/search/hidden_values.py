"""A cache on disk for the hidden values of fp32. With it, a probe or a search starts at its layer, not at the audio.

The cache affects speed only. Missing values are computed again, and a cache of another run is refused. Each cached
layer has one file with the tensors that enter the layer, batch by batch. An index says what the cache belongs to.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers

from stablequant.errors import StableQuantError
from stablequant.recognisers.recogniser import State
from stablequant.recognisers.registry import family_of
from stablequant.search.costs import Cost, recomputed
from stablequant.search.hidden_values_folder import file_of, folder_of, remove_folder
from stablequant.search.split import Split
from stablequant.storage.arrays import ArrayReader, ArrayWriter, writing_arrays
from stablequant.storage.files import checksum, read_json, write_json
from stablequant.storage.locks import lock, locked
from stablequant.workflow.digest import code_digest

MACS_PER_BYTE = 16  # multiply-accumulates that each byte read must save; a core computes about as many in that time
CODE = ("recognisers/load_recogniser.py", "search/hidden_values.py")  # code that decides what is stored
OTHERS = {  # parts of the key, as a message names them
    "batches": "other audio or other batches",
    "code": "another version of StableQuant",
    "libraries": "other versions of torch or transformers",
}
TENSORS, NAME = 4, 32  # limits for one layer and batch: number of tensors, and letters in a tensor's name


def cache_key(checkpoint: Path, split: Split) -> dict[str, str]:
    """What cached values belong to: checkpoint, utterances in their batches, code and library versions.

    ``checkpoint`` is the folder of an imported checkpoint.
    """
    package = Path(__file__).parent.parent
    family = {"family": family_of(checkpoint).name}
    return {
        "checkpoint": " ".join(checksum(file) for file in sorted(checkpoint.iterdir())),
        "batches": split.digest,
        "code": " ".join(code_digest(package / name, package.parent, family) for name in CODE),
        "libraries": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def choose_layers(costs: Sequence[Cost], limit: float, dtype: np.dtype) -> list[int]:
    """Indices of the layers whose inputs are cached, within ``limit`` bytes per sample of audio.

    The layer that saves the most computation per byte is chosen first, then the next one, and so on, as long as reading
    is faster than computing. The estimate assumes that every layer is probed once. ``dtype`` is that of the cache.
    """
    share = dtype.itemsize / np.dtype(np.float32).itemsize
    sizes = [cost.bytes * share for cost in costs]
    kept: list[int] = []
    while True:
        spent = sum(sizes[k] for k in kept)
        before = recomputed(costs, kept)
        gains = {
            number: (before - recomputed(costs, [*kept, number])) / sizes[number]
            for number in range(1, len(costs))
            if number not in kept and spent + sizes[number] <= limit and _worth_reading(costs, kept, number, sizes)
        }
        if not gains:
            return sorted(kept)
        kept.append(max(gains, key=gains.__getitem__))


def _worth_reading(costs: Sequence[Cost], kept: Sequence[int], number: int, sizes: Sequence[float]) -> bool:
    start = max((k for k in kept if k < number), default=0)
    return sum(cost.macs for cost in costs[start:number]) >= MACS_PER_BYTE * sizes[number]


class ActivationWriter:
    """Stores the inputs of the cached layers, batch by batch. `writing_cache` creates it."""

    def __init__(self, files: dict[int, ArrayWriter], dtype: np.dtype) -> None:
        self._files, self._dtype = files, dtype

    def keep(self, number: int, batch: int, state: State) -> None:
        """Store ``state``, the input of layer ``number`` in batch ``batch``."""
        for name, tensor in state.items():
            values = tensor.to("cpu", torch.float32).numpy().astype(self._dtype, copy=False)
            self._files[number].write(f"{batch}/{name}", values)


@contextmanager
def writing_cache(
    index: Path, key: Mapping[str, str], layers: Sequence[str], chosen: Sequence[int], batches: int, dtype: np.dtype
) -> Iterator[ActivationWriter]:
    """A writer for the cache ``index``, with one file for each of the layers ``chosen`` (indices into ``layers``).

    The index is written when the block ends without an error. A cache that exists is replaced. Until the block ends,
    no other process can read, write or remove the cache. ``key`` is that of `cache_key`, ``batches`` the number of
    batches, and ``dtype`` that of the stored values.
    """
    # Only the length of these names matters: they reserve space for the header's entries.
    names = [f"{batch}/{'x' * NAME}" for batch in range(batches) for _ in range(TENSORS)]
    with locked(folder_of(index)):
        remove_folder(index)
        index.unlink(missing_ok=True)
        folder_of(index).mkdir(parents=True)
        with ExitStack() as files:
            writers = {k: files.enter_context(writing_arrays(file_of(index, layers[k]), names)) for k in chosen}
            yield ActivationWriter(writers, dtype)
        write_json(index, {"layers": [layers[k] for k in chosen], "precision": dtype.name, **key})


def drop_layer(index: Path, layer: str) -> None:
    """Remove ``layer`` from the cache ``index``."""
    content = read_json(index)
    content["layers"].remove(layer)
    write_json(index, content)
    file_of(index, layer).unlink()


class HiddenValues:
    """Reads the cache that `writing_cache` wrote. It is empty if its folder was removed.

    As long as the object exists, no other process can change or remove the cache.

    Raises
    ------
    StableQuantError
        when the cache was made with another ``key``, or when it is incomplete or damaged.
    """

    def __init__(self, index: Path, key: Mapping[str, str], layers: Sequence[str]) -> None:
        self._files: dict[int, ArrayReader] = {}
        self._lock = lock(folder_of(index), shared=True)
        try:
            self._open(index, key, layers)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, index: Path, key: Mapping[str, str], layers: Sequence[str]) -> None:
        content = read_json(index)
        for part, expected in key.items():
            if content.get(part) != expected:
                fault = f"the cached values were made with {OTHERS.get(part, f'another {part}')}"
                raise StableQuantError(index, fault, "delete it, and run again")
        folder = folder_of(index)
        if folder.is_dir():
            self._files = {
                layers.index(layer): ArrayReader(file_of(index, layer), index) for layer in content["layers"]
            }
        else:
            logging.info("%s: no hidden values are cached, starting from the audio", folder)

    @property
    def layers(self) -> list[int]:
        """Indices of the cached layers."""
        return list(self._files)

    def nearest(self, number: int) -> int:
        """Index of the last cached layer up to ``number``; 0, the layer that the audio enters, if there is none."""
        return max((kept for kept in self._files if kept <= number), default=0)

    def load(self, number: int, batch: int) -> dict[str, np.ndarray]:
        """The input of the cached layer ``number`` in batch ``batch``, as float32 arrays by tensor name."""
        file = self._files[number]
        names = [name for name in file.names if name.startswith(f"{batch}/")]
        return {name.partition("/")[2]: file[name].astype(np.float32, copy=False) for name in names}
