"""Which of TensorRT's backends can build for this GPU, or for another that stands in for it."""

from collections.abc import Iterator
from importlib.util import find_spec

from gpu_setting import GPU

from stablequant.engines.tensorrt import LIBRARIES, compute_capability, gpu_capability, library
from stablequant.errors import StableQuantError

STAND_IN = "8.6"  # compute capability that plans are built for without a GPU


def capability() -> str:
    """The GPU's compute capability; without a GPU, `STAND_IN`."""
    return gpu_capability() or STAND_IN


def backends() -> Iterator[str]:
    """The backends of TensorRT that can build for this GPU, the first of which the engines use."""
    reasons = {}
    for name in LIBRARIES:
        reasons[name] = reason_not_built(name)
        if reasons[name] is None:
            yield name
    if None not in reasons.values():
        raise RuntimeError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


def reason_not_built(backend: str) -> str | None:
    """Why a backend of TensorRT cannot build for this GPU; None if it can.

    TensorRT itself is not loaded, since both libraries in one process may not get on with each other.
    """
    if backend == "tensorrt":
        found = GPU and find_spec("tensorrt") is not None
        return None if found else f"needs a GPU, and: {LIBRARIES[backend][1]}"
    try:
        compute_capability(library(backend), capability())
    except StableQuantError as fault:
        return str(fault)
    return None
