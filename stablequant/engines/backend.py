"""The interface of backends: what builds and runs engines, and which backends there are.

A backend is a module beside this one with a ``BACKEND``. It is imported by name, so that only the library of the
backend in use is loaded; `stablequant.workflow.digest` follows the name in ``PLUGIN``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Limits, Network, QuantizedModule, Signature

PLUGIN = "stablequant.engines.{backend}"


class Registered(NamedTuple):
    """What is known of a backend without its library.

    Attributes
    ----------
    module: beside this one
    settings: its block of the config; None where it has none
    tuned: whether its engines are built for the lengths of utterances
    gpu_builds, gpu_runs: whether a GPU is needed to build an engine, and to run it
    """

    module: str
    settings: str | None = None
    tuned: bool = False
    gpu_builds: bool = False
    gpu_runs: bool = False


BACKENDS = {
    "openvino": Registered("openvino", settings="openvino"),
    "onnxruntime": Registered("onnxruntime"),
    "tensorrt-rtx": Registered("tensorrt_rtx", settings="tensorrt", tuned=True, gpu_runs=True),
    "tensorrt": Registered("tensorrt", settings="tensorrt", tuned=True, gpu_builds=True, gpu_runs=True),
}
Description = Mapping[str, Any]  # engine.json


@dataclass(frozen=True)
class Request:
    """What an engine is to be built from.

    Attributes
    ----------
    graphs: ONNX files by the graph's name
    signatures: what the graphs take and give
    limits: sizes of all axes but ``batch``; empty for a backend that knows no limits
    settings: the backend's block of the config; empty where it has none
    whole: whether every layer is INT8
    """

    graphs: Mapping[str, Path]
    signatures: Mapping[str, Signature]
    limits: Mapping[str, Limits]
    settings: Mapping[str, Any]
    whole: bool


class Loaded(NamedTuple):
    """An engine that is ready: its networks by the graph's name, and the arithmetic of its quantized layers here."""

    networks: Mapping[str, Network]
    arithmetic: str


class Backend(Protocol):
    """Builds and runs engines."""

    def version(self) -> str:
        """Of its library."""

    def build(self, request: Request, folder: Path) -> dict[str, Any]:
        """Fill ``folder``; return what engine.json is to say beside what it says of every engine."""

    def check(self, description: Description) -> bool:
        """Whether an engine.json holds what `load` needs."""

    def load(self, folder: Path, description: Description, signatures: Mapping[str, Signature], threads: int) -> Loaded:
        """The engine in ``folder``; raise `StableQuantError` where it is damaged or cannot run here."""

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """The precision that each of ``modules`` runs in on this machine, by its name, as far as it is known."""

    def reason_not_run(self, description: Description) -> str | None:
        """What keeps an engine from running on this machine; None if nothing does."""

    def max_batch(self, description: Description) -> float:
        """How many utterances it takes at once; infinite where there is no limit."""


def backend_named(name: str, place: Path | str) -> Backend:
    """The backend of that name, which ``place`` asks for.

    Raises
    ------
    StableQuantError
        when there is none, or its library is not installed.
    """
    if name not in BACKENDS:
        raise StableQuantError(place, f"an engine of '{name}'", f"known are {', '.join(BACKENDS)}")
    try:
        found: Backend = import_module(PLUGIN.format(backend=BACKENDS[name].module)).BACKEND
    except ImportError as missing:
        package = missing.name or name
        raise StableQuantError(
            place, f"{name}'s engine needs the package {package} ({missing})", f"run: pip install {package}"
        ) from missing
    return found
