"""The file of INT8 weights that `stablequant.search.round_weights` rounded."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from stablequant.storage.files import read_tensors, refusing_damage, replacing

RoundedWeight = tuple[np.ndarray, np.ndarray]  # levels int8 (outputs, ...), scales float32 (outputs,)


def save_rounded(path: Path, weights: Mapping[str, RoundedWeight]) -> None:
    """Write INT8 weights by module name; ``weights`` is empty if all weights are rounded to the nearest level."""
    tensors: dict[str, np.ndarray] = {}
    for name, (levels, scales) in weights.items():
        tensors |= {f"{name}/levels": levels, f"{name}/scales": scales}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


class RoundedFile(Mapping[str, RoundedWeight]):
    """The weights in the file ``path`` by module name, each read when it is asked for; only of ``modules`` if given.

    Raises `StableQuantError` if the file is damaged.
    """

    def __init__(self, path: Path, modules: Collection[str] | None = None) -> None:
        self._path = path
        with refusing_damage(path), safe_open(path, "numpy") as file:
            stored = [str(name).removesuffix("/levels") for name in file.keys() if name.endswith("/levels")]  # noqa: SIM118
        self._names = [name for name in stored if modules is None or name in modules]

    def __getitem__(self, module: str) -> RoundedWeight:
        if module not in self._names:
            raise KeyError(module)
        levels, scales = f"{module}/levels", f"{module}/scales"
        tensors = read_tensors(self._path, lambda name: name in (levels, scales))
        return tensors[levels], tensors[scales]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
