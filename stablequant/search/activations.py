"""Hidden values of fp32 kept on disk, so that a probe or a search resumes at its layer instead of from the audio.

The cache affects speed only: what is missing is computed again, and what was made for another run is refused. Each
cached layer is a file of the tensors that enter it, batch by batch; an index says what they belong to.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import State
from stablequant.recognisers.registry import family_of
from stablequant.search.activation_folder import file_of, folder_of
from stablequant.search.costs import Cost, recomputed
from stablequant.search.split import Split
from stablequant.storage.arrays import ArrayReader, ArrayWriter, writing_arrays
from stablequant.storage.files import checksum, read_json, write_json
from stablequant.workflow.digest import code_digest

MACS_PER_BYTE = 16  # that a stored byte must save each time it is read; a core does about as many while it reads one
CODE = ("recognisers/load_recogniser.py", "search/activations.py")  # that decides what is stored
TENSORS, NAME = 4, 32  # of one layer and batch: how many there may be, and letters of a tensor's name


def cache_key(checkpoint: Path, split: Split) -> dict[str, str]:
    """What stored values belong to: the recogniser, the utterances in their batches, and the code that made them."""
    package = Path(__file__).parent.parent
    family = {"family": family_of(checkpoint).name}
    return {
        "checkpoint": " ".join(checksum(file) for file in sorted(checkpoint.iterdir())),
        "batches": split.digest,
        "code": " ".join(code_digest(package / name, package.parent, family) for name in CODE),
        "libraries": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def choose_layers(costs: Sequence[Cost], budget: float, dtype: np.dtype) -> list[int]:
    """Indices of the layers whose inputs are cached, within ``budget`` bytes per sample of audio.

    The layer that saves the most computation per byte comes first, and so on, as long as reading it is faster than
    computing it again. Every layer counts as probed once.
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
            if number not in kept and spent + sizes[number] <= budget and _worth_reading(costs, kept, number, sizes)
        }
        if not gains:
            return sorted(kept)
        kept.append(max(gains, key=gains.__getitem__))


def _worth_reading(costs: Sequence[Cost], kept: Sequence[int], number: int, sizes: Sequence[float]) -> bool:
    start = max((k for k in kept if k < number), default=0)
    return sum(cost.macs for cost in costs[start:number]) >= MACS_PER_BYTE * sizes[number]


class ActivationWriter:
    """Takes what enters the cached layers, batch by batch; made by `keeping`."""

    def __init__(self, files: dict[int, ArrayWriter], dtype: np.dtype) -> None:
        self._files, self._dtype = files, dtype

    def keep(self, number: int, batch: int, state: State) -> None:
        """Store what enters layer ``number`` in batch ``batch``."""
        for name, tensor in state.items():
            values = tensor.to("cpu", torch.float32).numpy().astype(self._dtype, copy=False)
            self._files[number].write(f"{batch}/{name}", values)


@contextmanager
def keeping(
    index: Path, key: Mapping[str, str], layers: Sequence[str], chosen: Sequence[int], batches: int, dtype: np.dtype
) -> Iterator[ActivationWriter]:
    """Write ``index`` and its folder, which may not be there yet: a file for each layer ``chosen`` of ``layers``."""
    folder_of(index).mkdir(parents=True)
    names = [f"{batch}/{'x' * NAME}" for batch in range(batches) for _ in range(TENSORS)]  # room for their entries
    with ExitStack() as files:
        writers = {k: files.enter_context(writing_arrays(file_of(index, layers[k]), names)) for k in chosen}
        yield ActivationWriter(writers, dtype)
    write_json(index, {"layers": [layers[k] for k in chosen], "precision": dtype.name, **key})


def forget(index: Path, layer: str) -> None:
    """Keep ``layer`` no longer."""
    content = read_json(index)
    content["layers"].remove(layer)
    write_json(index, content)
    file_of(index, layer).unlink()


class Activations:
    """What `keeping` wrote, or nothing where it was released.

    Raises
    ------
    StableQuantError
        when it was made with another ``key``, or is incomplete.
    """

    def __init__(self, index: Path, key: Mapping[str, str], layers: Sequence[str]) -> None:
        content = read_json(index)
        for part, expected in key.items():
            if content.get(part) != expected:
                raise StableQuantError(index, f"made with another {part}", "delete it, and run again")
        folder = folder_of(index)
        self._files: dict[int, ArrayReader] = {}
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
        """The last cached layer at or before ``number``; 0, which the audio enters, where there is none."""
        return max((kept for kept in self._files if kept <= number), default=0)

    def load(self, number: int, batch: int) -> dict[str, np.ndarray]:
        """What enters layer ``number``, which is cached, in batch ``batch``, as float32 by the tensor's name."""
        file = self._files[number]
        names = [name for name in file.names if name.startswith(f"{batch}/")]
        return {name.partition("/")[2]: file[name].astype(np.float32, copy=False) for name in names}
