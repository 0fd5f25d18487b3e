"""Check the inputs and outputs of a network that was read from a file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Signature, Tensor

Axes = tuple[Collection[str], int | None]  # names of a tensor, and its number of axes (None if that is dynamic)


def check_tensors(signature: Signature, inputs: Sequence[Axes], outputs: Sequence[Axes], file: Path) -> None:
    """Raise `StableQuantError` if ``inputs`` or ``outputs`` of the network in ``file`` do not fit ``signature``."""
    if not (_fit(inputs, signature.inputs) and _fit(outputs, signature.outputs)):
        found = ", ".join(
            f"{' or '.join(sorted(names)) or 'no name'} ({'any number of' if axes is None else axes} axes)"
            for names, axes in (*inputs, *outputs)
        )
        wanted = ", ".join(
            f"{name} ({len(t.axes)} axes)" for name, t in {**signature.inputs, **signature.outputs}.items()
        )
        raise StableQuantError(
            file, f"its inputs and outputs are {found}, but a recogniser has {wanted}", "build the engine again"
        )


def _fit(found: Sequence[Axes], wanted: Mapping[str, Tensor]) -> bool:
    """Whether every ``wanted`` tensor is found exactly once, with its number of axes, and nothing else."""
    named = [[n for n in names if n in wanted and axes == len(wanted[n].axes)] for names, axes in found]
    return sorted(named) == [[name] for name in sorted(wanted)]


def names_of(wanted: Collection[str], tensors: Sequence[Collection[str]]) -> list[str]:
    """For each tensor, the one of its names that is in ``wanted``."""
    return [next(name for name in names if name in wanted) for names in tensors]


def warm_up_inputs(signature: Signature) -> dict[str, np.ndarray]:
    """Zeros for each input, with the warm-up sizes of ``signature``."""
    return {
        name: np.zeros([signature.warm_up[axis] for axis in tensor.axes], dtype=tensor.dtype)
        for name, tensor in signature.inputs.items()
    }
