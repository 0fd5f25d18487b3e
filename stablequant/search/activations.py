"""Hidden values of fp32 kept on disk, so that a probe or a search resumes at its layer instead of from the audio.

They are a cache: what is missing is computed again, what does not belong to the run is refused, and in float32 nothing
depends on them but time. Each kept layer is a file of what enters it, one array per batch; an index says what they
belong to.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers

from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import Batch
from stablequant.search.activation_folder import file_of, folder_of
from stablequant.search.costs import Cost, recomputed
from stablequant.storage.arrays import ArrayReader, ArrayWriter, writing_arrays
from stablequant.storage.files import checksum, read_json, write_json
from stablequant.workflow.digest import code_digest

MACS_PER_BYTE = 16  # that a stored byte must save each time it is read; a core does about as many while it reads one


def identity(checkpoint: Path, batches: Sequence[Batch]) -> dict[str, str]:
    """What stored values belong to: the recogniser, the utterances in their batches, and the code that made them."""
    listed = "\n".join(f"{number} {u.path} {u.sha256}" for number, batch in enumerate(batches) for u in batch)
    package = Path(__file__).parent
    return {
        "checkpoint": " ".join(checksum(file) for file in sorted(checkpoint.iterdir())),
        "batches": hashlib.sha256(listed.encode()).hexdigest(),
        "code": " ".join(code_digest(package / name, package.parent) for name in ("recogniser.py", "activations.py")),
        "libraries": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def choose_layers(costs: Sequence[Cost], budget: float, dtype: np.dtype) -> list[int]:
    """Numbers of the layers to keep what enters them of, within ``budget`` bytes per sample of audio.

    One after the other is taken that saves the most computation per byte, counting every layer as probed once, as long
    as reading it is faster than computing it again.
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
    """Takes what enters the layers that are kept, batch by batch; made by `keeping`."""

    def __init__(self, files: dict[int, ArrayWriter], dtype: np.dtype) -> None:
        self._files, self._dtype = files, dtype

    def keep(self, number: int, batch: int, hidden: torch.Tensor) -> None:
        """Store what enters layer ``number`` in batch ``batch``."""
        self._files[number].write(str(batch), hidden.to("cpu", torch.float32).numpy().astype(self._dtype, copy=False))


@contextmanager
def keeping(
    index: Path, belongs: dict[str, str], names: Sequence[str], chosen: Sequence[int], batches: int, dtype: np.dtype
) -> Iterator[ActivationWriter]:
    """Write ``index`` and its folder, which may not be there yet: a file for each layer ``chosen`` of ``names``."""
    folder_of(index).mkdir(parents=True)
    numbers = [str(batch) for batch in range(batches)]
    with ExitStack() as files:
        writers = {k: files.enter_context(writing_arrays(file_of(index, names[k]), numbers)) for k in chosen}
        yield ActivationWriter(writers, dtype)
    write_json(index, {"layers": [names[k] for k in chosen], "precision": dtype.name, **belongs})


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
        when it belongs to something else than ``belongs`` says, or is incomplete.
    """

    def __init__(self, index: Path, belongs: dict[str, str], names: Sequence[str]) -> None:
        content = read_json(index)
        for key, expected in belongs.items():
            if content.get(key) != expected:
                raise StableQuantError(index, f"made with another {key}", "delete it, and run again")
        folder = folder_of(index)
        self._files: dict[int, ArrayReader] = {}
        if folder.is_dir():
            self._files = {names.index(layer): ArrayReader(file_of(index, layer), index) for layer in content["layers"]}
        else:
            logging.info("%s: nothing is kept, starting from the audio", folder)

    @property
    def layers(self) -> list[int]:
        """Numbers of the layers that are kept."""
        return list(self._files)

    def nearest(self, number: int) -> int:
        """The last layer at or before ``number`` that is kept; 0, which the audio enters, where there is none."""
        return max((kept for kept in self._files if kept <= number), default=0)

    def load(self, number: int, batch: int) -> np.ndarray:
        """What enters layer ``number``, which is kept, in batch ``batch``, as float32."""
        return np.array(self._files[number][str(batch)], dtype=np.float32)
