"""The interface of backends, and the list of backends. A backend builds and runs engines.

A backend is a module beside this one with a constant ``BACKEND``. It is imported by name, so that only the library of
the backend in use is loaded. `stablequant.workflow.digest` follows this import through ``PLUGIN``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

from stablequant.engines.description import Description
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Limits, Network, Signature
from stablequant.recognisers.modules import QuantizedModule

PLUGIN = "stablequant.engines.{backend}"


class Registered(NamedTuple):
    """What is known about a backend without loading its library.

    Attributes
    ----------
    module: name of its module beside this one
    settings: name of its block in the config; None if it has no settings
    tuned: whether its engines are tuned for the lengths of the utterances
    gpu_builds: whether building an engine needs a GPU
    gpu_runs: whether running an engine needs a GPU
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


class Settings(TypedDict, total=False):
    """A backend's block of the config, see config.schema.yaml.

    Attributes
    ----------
    floating: OpenVINO: arithmetic of what is not quantized, ``float32`` or ``bfloat16``
    compute_capabilities: TensorRT: compute capabilities of the GPUs to build for, such as "8.6"
    max_samples: TensorRT: longest utterance in samples
    max_batch: TensorRT: largest number of utterances at once
    timing_cache: TensorRT: file with measurements from earlier builds; None if they are not stored
    """

    floating: str
    compute_capabilities: list[str]
    max_samples: int
    max_batch: int
    timing_cache: str | None


@dataclass(frozen=True)
class Request:
    """What an engine is built from.

    Attributes
    ----------
    graphs: ONNX files by graph name
    signatures: inputs and outputs of the graphs, by graph name
    limits: sizes of all axes except ``batch``; empty if the backend does not tune its engines
    settings: the backend's block of the config; empty if it has none
    all_int8: whether every layer is INT8
    """

    graphs: Mapping[str, Path]
    signatures: Mapping[str, Signature]
    limits: Mapping[str, Limits]
    settings: Settings
    all_int8: bool


class Loaded(NamedTuple):
    """An engine that is ready to run.

    Attributes
    ----------
    networks: by graph name. Threads may call each of them at the same time; what a call returns is the caller's own
    arithmetic: arithmetic of the quantized layers on this machine
    """

    networks: Mapping[str, Network]
    arithmetic: str


class Backend(Protocol):
    """Builds and runs engines."""

    def version(self) -> str:
        """Version of its library."""

    def build(self, request: Request, folder: Path) -> Description:
        """Write the engine into ``folder``; return the entries of engine.json that only this backend has."""

    def check(self, description: Description) -> bool:
        """Whether the content of an engine.json has what `load` needs."""

    def load(
        self,
        folder: Path,
        description: Description,
        signatures: Mapping[str, Signature],
        threads: int,
        cache: Path | None = None,
    ) -> Loaded:
        """Load the engine in ``folder``; raise `StableQuantError` if it is damaged or cannot run here.

        ``cache`` is a folder where the backend may keep what it makes of the engine, so that it loads faster next time.
        """

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """The precision in which modules run on this machine, by module name. Unknown ones are missing."""

    def reason_not_run(self, description: Description) -> str | None:
        """Why the engine cannot run on this machine; None if it can."""

    def max_batch(self, description: Description) -> float:
        """The largest number of utterances that the engine takes at once; infinite if there is no limit."""


def backend_named(name: str, place: Path | str) -> Backend:
    """The backend ``name``. ``place`` is where the name comes from, for messages.

    Raises
    ------
    StableQuantError
        when there is no such backend, or when its library is not installed.
    """
    if name not in BACKENDS:
        raise StableQuantError(place, f"there is no backend '{name}'", f"known are {', '.join(BACKENDS)}")
    try:
        found: Backend = import_module(PLUGIN.format(backend=BACKENDS[name].module)).BACKEND
    except ImportError as missing:
        package = missing.name or name
        raise StableQuantError(
            place, f"{name}'s engine needs the package {package} ({missing})", f"run: pip install {package}"
        ) from missing
    return found
