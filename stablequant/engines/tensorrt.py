"""TensorRT and TensorRT for RTX, which have the same API: build plans, and run them on a GPU.

TensorRT builds plans for the GPU of this machine. TensorRT for RTX builds plans for given compute capabilities, and it
needs no GPU to build them.
"""

import functools
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from stablequant.engines.backend import Loaded, Request
from stablequant.engines.description import Description
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Limits, Network, Signature
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import replacing
from stablequant.storage.locks import locked

LIBRARIES = {  # backend -> its Python package, and the command that installs it
    "tensorrt": ("tensorrt", "pip install tensorrt-cu13==10.16.1.11 --extra-index-url https://pypi.nvidia.com"),
    "tensorrt-rtx": (
        "tensorrt_rtx_bindings",
        "pip install tensorrt_rtx_cu12_libs==1.7.1.116 tensorrt_rtx_cu12_bindings==1.7.1.116",
    ),
}
BUILT = "Engine Layer Information"  # start of the list of layers, which the builder logs below INFO


@functools.cache
def library(backend: str) -> ModuleType:
    """The Python package of ``backend``; raise `StableQuantError` if it cannot be loaded."""
    name, install = LIBRARIES[backend]
    if name == "tensorrt":
        import torch  # noqa: F401 - it loads CUDA's runtime, which TensorRT's wheels do not find in torch's packages
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as missing:
        raise StableQuantError(f"package {name}", f"cannot be loaded ({missing})", f"run: {install}") from missing


@functools.cache
def _logger(backend: str) -> object:
    """A logger for the library that passes its messages to Python's log."""
    trt = library(backend)
    kinds = trt.ILogger.Severity
    levels = {
        kinds.INTERNAL_ERROR: logging.ERROR,
        kinds.ERROR: logging.ERROR,
        kinds.WARNING: logging.WARNING,
        kinds.INFO: logging.INFO,
    }

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]  # the library may be absent, so its types are unknown
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            level = logging.INFO if message.startswith(BUILT) else levels.get(severity, logging.DEBUG)
            logging.getLogger("tensorrt").log(level, message)

    return Log()


class TensorRt:
    """See `stablequant.engines.backend.Backend`. ``name`` is the backend's name in the config."""

    def __init__(self, name: str) -> None:
        self.name = name

    def version(self) -> str:
        """Version of the library."""
        return str(library(self.name).__version__)

    def build(self, request: Request, folder: Path) -> Description:
        """Build a plan for each graph.

        TensorRT for RTX builds for the compute capabilities in the settings, TensorRT for the GPU of this machine.
        """
        settings = request.settings
        batch = Limits(1, 1, settings["max_batch"])
        cache = Path(settings["timing_cache"]) if settings["timing_cache"] and self.name == "tensorrt" else None
        profile = {"batch": batch, **request.limits}
        for name, graph in request.graphs.items():
            with _with_float_tables(graph) as readable:
                plan = build_plan(
                    self.name, readable, request.signatures[name], settings["compute_capabilities"], profile, cache
                )
            (folder / f"{name}.plan").write_bytes(plan)
        return {
            "compute_capabilities": settings["compute_capabilities"],
            "gpu": gpu_capability() if self.name == "tensorrt" else None,
            "profile": {axis: list(limits) for axis, limits in profile.items()},
        }

    def check(self, description: Description) -> bool:
        """Whether profile, compute capabilities and version are present and well formed."""
        profile, capabilities = description.get("profile"), description.get("compute_capabilities")
        return (
            isinstance(profile, dict)
            and "batch" in profile
            and all(_is_limits(limits) for limits in profile.values())
            and isinstance(capabilities, list)
            and all(isinstance(capability, str) for capability in capabilities)
            and isinstance(description.get("version"), str)
        )

    def load(
        self,
        folder: Path,
        description: Description,
        signatures: Mapping[str, Signature],
        threads: int,
        cache: Path | None = None,
    ) -> Loaded:
        """Load the plans on the first GPU, with tensors of torch as buffers."""
        reason = self.reason_not_run(description)
        if reason:
            raise StableQuantError(folder, reason, "build it on this machine, or take another engine")
        networks = {name: load_plan(self.name, folder / f"{name}.plan", s) for name, s in signatures.items()}
        return Loaded(networks, FLOAT32 if description.get("method") == "fp32" else INT8)

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """Empty: precisions are not known. The builder fuses the whole network into one node, as its log shows, and the
        GPU's compiler decides when it loads the plan."""
        return {}

    def reason_not_run(self, description: Description) -> str | None:
        """Why the plans cannot run here, see `reason_plan_not_run`."""
        return reason_plan_not_run(description, gpu_capability(), self.version())

    def max_batch(self, description: Description) -> float:
        """The largest batch in the profile."""
        return float(description["profile"]["batch"][2])


BACKEND = TensorRt("tensorrt")


def _is_limits(limits: object) -> bool:
    return isinstance(limits, list) and len(limits) == 3 and all(isinstance(size, int) for size in limits)


@contextmanager
def _with_float_tables(graph: Path) -> Iterator[Path]:
    """The graph, or a copy of it in which no embedding reads an INT8 table, see `float_tables`."""
    from stablequant.engines.tied_embedding import float_tables
    from stablequant.storage.onnx_graph import load_graph, save_graph

    model = load_graph(graph)
    if not float_tables(model.graph):
        yield graph
        return
    with TemporaryDirectory() as folder:
        save_graph(model, Path(folder, graph.name))
        yield Path(folder, graph.name)


def build_plan(
    backend: str,
    onnx: Path,
    signature: Signature,
    compute_capabilities: Sequence[str],
    profile: Mapping[str, Limits],
    timing_cache: Path | None = None,
) -> bytes:
    """Build a plan for the graph ``onnx``; ``profile`` gives the limits of each axis.

    The network is strongly typed: it has the types of the graph, so no layer falls back silently. As is TensorRT's
    default, products in float32 may round their inputs to TensorFloat-32. TensorRT stores its measurements on this GPU
    in the file ``timing_cache`` and uses them in the next build.

    Raises `StableQuantError` if the graph cannot be read, a compute capability is not supported, or the build fails.
    """
    trt, logger = library(backend), _logger(backend)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        raise StableQuantError(onnx, f"TensorRT cannot read the graph ({parser.get_error(0)})", "export it again")
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    for name, tensor in signature.inputs.items():
        shapes.set_shape(name, *zip(*(profile[axis] for axis in tensor.axes), strict=True))
    config.add_optimization_profile(shapes)
    if backend == "tensorrt-rtx":
        config.num_compute_capabilities = len(compute_capabilities)
        for index, capability in enumerate(compute_capabilities):
            config.set_compute_capability(compute_capability(trt, capability), index)
    if timing_cache:
        known = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StableQuantError(onnx, "TensorRT could not build a plan", "see the job's log for the builder's messages")
    if timing_cache:
        store_timings(timing_cache, config)
    return bytes(plan)


def store_timings(timing_cache: Path, config: Any) -> None:
    """Add the measurements of the TensorRT builder's ``config`` to the file ``timing_cache``.

    Another build may have added its own since this one read the file. A lock lets only one build change it at a time.
    """
    measured = config.get_timing_cache()
    with locked(timing_cache):
        if timing_cache.is_file():
            measured.combine(config.create_timing_cache(timing_cache.read_bytes()), False)
        with replacing(timing_cache) as temporary:
            temporary.write_bytes(measured.serialize())


def compute_capability(trt: ModuleType, capability: str) -> object:
    """The library's constant for ``capability``, such as "8.6"; raise `StableQuantError` if there is none."""
    known: Mapping[str, object] = trt.ComputeCapability.__members__
    name = "SM" + capability.replace(".", "")
    if name not in known:
        supported = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in known if n.startswith("SM"))
        raise StableQuantError(
            "config key 'tensorrt: compute_capabilities'", f"no plan can be built for {capability}", f"take {supported}"
        )
    return known[name]


def gpu_capability() -> str | None:
    """Compute capability of the first NVIDIA GPU that torch finds, such as "8.6"; None if there is no GPU."""
    import torch

    return ".".join(map(str, torch.cuda.get_device_capability())) if torch.cuda.is_available() else None


def reason_plan_not_run(description: Description, capability: str | None, installed: str) -> str | None:
    """Why a plan with this ``description`` cannot run on a GPU of ``capability``; None if it can.

    ``installed`` is the installed version of the library.
    """
    if capability is None:
        return "no supported GPU"
    built_for = description["compute_capabilities"]
    if description["backend"] == "tensorrt-rtx" and capability not in built_for:
        return f"built for compute capability {', '.join(built_for)}, this GPU has {capability}"
    if description.get("gpu") not in (None, capability):
        return f"built on a GPU of compute capability {description['gpu']}, this one has {capability}"
    if description["version"] != installed:
        return f"built by version {description['version']}, installed is {installed}"
    return None


def load_plan(backend: str, file: Path, signature: Signature) -> Network:
    """The plan in ``file`` as a function of its inputs. It runs on the first GPU, with tensors of torch as buffers.
    Threads may call it at the same time; they wait for each other.

    Raises `StableQuantError` if the plan is damaged. The function raises it for inputs larger than the profile, or if
    the GPU fails.
    """
    import torch

    trt = library(backend)
    engine = trt.Runtime(_logger(backend)).deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise StableQuantError(file, "damaged, or not a plan", "build it again")
    context = engine.create_execution_context()
    if context is None:
        raise StableQuantError(file, "does not fit into the GPU's memory", "free some; the log has TensorRT's messages")
    create_stream: Any = torch.cuda.Stream  # its constructor has no types
    stream = create_stream()
    one_caller = Lock()  # the context holds the shapes and addresses of one call

    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with one_caller:
            return run(tensors)

    def run(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        held = {name: torch.from_numpy(np.ascontiguousarray(tensors[name])).cuda() for name in signature.inputs}
        for name, values in held.items():
            if not context.set_input_shape(name, tuple(values.shape)):
                raise StableQuantError(
                    file,
                    f"does not accept {name} of shape {tuple(values.shape)}",
                    "raise 'max_samples' or 'max_batch' of 'tensorrt' in the config, and build it again",
                )
        found = {name: torch.empty(tuple(context.get_tensor_shape(name)), device="cuda") for name in signature.outputs}
        for name, values in {**held, **found}.items():
            context.set_tensor_address(name, values.data_ptr())
        stream.wait_stream(torch.cuda.current_stream())
        if not context.execute_async_v3(stream.cuda_stream):
            raise StableQuantError(file, "the GPU could not run the plan", "see TensorRT's messages in the log")
        stream.synchronize()
        return {name: values.cpu().numpy() for name, values in found.items()}

    return network
