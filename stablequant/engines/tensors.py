"""Check the inputs and outputs of a network that was read from a file."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Signature

Axes = tuple[Collection[str], int | None]  # names of a tensor, and its number of axes (None if that is dynamic)


def check_tensors(signature: Signature, inputs: Sequence[Axes], outputs: Sequence[Axes], file: Path) -> None:
    """Raise `StableQuantError` if ``inputs`` or ``outputs`` of the network in ``file`` do not fit ``signature``."""
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
    """For each tensor, the one of its names that is in ``wanted``."""
    return [next(name for name in names if name in wanted) for names in tensors]


def first_heard(signature: Signature) -> dict[str, np.ndarray]:
    """Zeros for each input, with the warm-up sizes of ``signature``."""
    return {
        name: np.zeros([signature.warm_up[axis] for axis in tensor.axes], dtype=tensor.dtype)
        for name, tensor in signature.inputs.items()
    }
