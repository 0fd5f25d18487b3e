"""The file of INT8 weights that `stablequant.search.round_weights` rounded."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stablequant.storage.files import read_tensors, replacing

RoundedWeight = tuple[np.ndarray, np.ndarray]  # levels int8 (outputs, ...), scales float32 (outputs,)


def save_rounded(path: Path, weights: Mapping[str, RoundedWeight]) -> None:
    """Write INT8 weights by module name; ``weights`` is empty if all weights are rounded to the nearest level."""
    tensors: dict[str, np.ndarray] = {}
    for name, (levels, scales) in weights.items():
        tensors |= {f"{name}/levels": levels, f"{name}/scales": scales}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_rounded(path: Path, modules: Collection[str] | None = None) -> dict[str, RoundedWeight]:
    """The weights in ``path`` by module name, only of ``modules`` if given.

    Raises `StableQuantError` if the file is damaged.
    """
    tensors = read_tensors(path, lambda name: modules is None or name.rpartition("/")[0] in modules)
    names = [name.removesuffix("/levels") for name in tensors if name.endswith("/levels")]
    return {name: (tensors[f"{name}/levels"], tensors[f"{name}/scales"]) for name in names}
