"""Inputs and outputs of a network that was read from a file."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Signature

Axes = tuple[Collection[str], int | None]  # names that a tensor goes by, and the number of its axes where that is fixed


def check_tensors(signature: Signature, inputs: Sequence[Axes], outputs: Sequence[Axes], file: Path) -> None:
    """Raise `StableQuantError` unless a network's ``inputs`` and ``outputs`` are those of ``signature``."""
    sides = ((inputs, signature.inputs), (outputs, signature.outputs))
    fit = [
        len(found) == len(wanted)
        and all(any(n in wanted and axes == len(wanted[n].axes) for n in names) for names, axes in found)
        for found, wanted in sides
    ]
    if not all(fit):
        found = ", ".join(
            f"{' or '.join(sorted(names)) or 'nothing'} of {axes} axes" for names, axes in (*inputs, *outputs)
        )
        wanted_names = " and ".join([*signature.inputs, *signature.outputs])
        raise StableQuantError(
            file, f"a network of {found}, not of a recogniser's {wanted_names}", "build the engine again"
        )


def names_of(wanted: Collection[str], tensors: Sequence[Collection[str]]) -> list[str]:
    """Of each tensor's names the one among ``wanted``."""
    return [next(name for name in names if name in wanted) for names in tensors]


def first_heard(signature: Signature) -> dict[str, np.ndarray]:
    """Zeros for each input, of the signature's warm-up sizes."""
    return {
        name: np.zeros([signature.warm_up[axis] for axis in tensor.axes], dtype=tensor.dtype)
        for name, tensor in signature.inputs.items()
    }
