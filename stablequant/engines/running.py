"""An engine of any backend, ready to recognise."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stablequant.engines.backend import Backend, Description, Loaded, backend_named
from stablequant.engines.folder import read_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of


def backend_of(folder: Path) -> tuple[Backend, Description]:
    """The backend of the engine in ``folder``, and its description, checked."""
    description = read_engine(folder)
    backend = backend_named(description["backend"], folder / "engine.json")
    if not backend.check(description):
        raise StableQuantError(folder / "engine.json", "not an engine's description", "build the engine again")
    return backend, description


def load_engine(folder: Path, threads: int) -> Loaded:
    """The networks of the engine in ``folder``, and the arithmetic that it runs in here.

    ``threads`` are those of a CPU's engine, 0 takes all cores. Only the backend's own library is imported.

    Raises
    ------
    StableQuantError
        when the engine cannot run on this machine, or is damaged.
    """
    backend, description = backend_of(folder)
    return backend.load(folder, description, family_of(folder).signatures(folder), threads)


def reason_not_run(folder: Path) -> str | None:
    """What keeps an engine from running on this machine; None if nothing does."""
    backend, description = backend_of(folder)
    return backend.reason_not_run(description)


def max_batch(folder: Path) -> float:
    """How many utterances the engine in ``folder`` takes at once; infinite where there is no limit."""
    backend, description = backend_of(folder)
    return backend.max_batch(description)


class Stopwatch:
    """Counts the ``seconds`` spent inside networks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, networks: Mapping[str, Network]) -> dict[str, Network]:
        """The same networks, whose time is counted."""
        return {name: self._timed(network) for name, network in networks.items()}

    def _timed(self, network: Network) -> Network:
        def timed(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            start = time.perf_counter()
            found = network(tensors)
            self.seconds += time.perf_counter() - start
            return found

        return timed
