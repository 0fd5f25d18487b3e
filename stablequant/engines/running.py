"""Load and run engines of any backend."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stablequant.engines.backend import BACKENDS, Backend, Loaded, backend_named
from stablequant.engines.description import Description
from stablequant.engines.folder import read_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of


def backend_of(folder: Path) -> tuple[Backend, Description]:
    """The backend of the engine in ``folder``, and its checked description.

    Raises `StableQuantError` if the description is damaged, or the backend is unknown or not installed.
    """
    description = read_engine(folder)
    backend = backend_named(description["backend"], folder / "engine.json")
    if not backend.check(description):
        raise StableQuantError(folder / "engine.json", "not an engine's description", "build the engine again")
    return backend, description


def load_engine(folder: Path, threads: int, cache: Path | None = None) -> Loaded:
    """Load the engine in ``folder``: its networks, and the arithmetic of its quantized layers on this machine.

    ``threads`` is the number of CPU threads; 0 takes all cores. Only the library of the engine's backend is imported.
    ``cache`` is a folder for what the backend makes of the engine, so that it loads faster next time.

    Raises
    ------
    StableQuantError
        when the engine is damaged or cannot run on this machine.
    """
    backend, description = backend_of(folder)
    return backend.load(folder, description, family_of(folder).signatures(folder), threads, cache)


def reason_not_run(folder: Path) -> str | None:
    """Why the engine in ``folder`` cannot run on this machine; None if it can."""
    backend, description = backend_of(folder)
    return backend.reason_not_run(description)


def max_batch(folder: Path) -> float:
    """The largest number of utterances that the engine in ``folder`` takes at once; infinite if there is no limit."""
    backend, description = backend_of(folder)
    return backend.max_batch(description)


def longest_input(folder: Path) -> float:
    """Samples of the longest audio that the engine in ``folder`` takes; infinite if there is no limit."""
    _, description = backend_of(folder)
    tuned = BACKENDS[description["backend"]].tuned  # only then the profile was checked
    limits = description.get("profile", {}).get("samples") if tuned else None
    return math.inf if limits is None else float(limits[-1])


class Stopwatch:
    """Measures the ``seconds`` spent inside networks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, networks: Mapping[str, Network]) -> dict[str, Network]:
        """The same networks, with their time added to ``seconds``."""
        return {name: self._timed(network) for name, network in networks.items()}

    def _timed(self, network: Network) -> Network:
        def timed(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            start = time.perf_counter()
            found = network(tensors)
            self.seconds += time.perf_counter() - start
            return found

        return timed
