"""TensorRT and TensorRT for RTX through one builder: plans, and running them on the GPU that they were built for.

TensorRT for RTX builds plans for GPUs of a named compute capability without one. TensorRT proper builds for the GPU at
hand. Both share their API.
"""

import functools
import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np

from stablequant.corpora.list_utterances import MIN_SAMPLES
from stablequant.engines.folder import read_engine
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.decoding import Infer
from stablequant.recognisers.ctc.front_end import INPUT, OUTPUT
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.storage.files import replacing

LIBRARIES = {  # backend -> its Python package and how it is installed
    "tensorrt": ("tensorrt", "pip install tensorrt==10.14.1.48 --extra-index-url https://pypi.nvidia.com"),
    "tensorrt-rtx": (
        "tensorrt_rtx_bindings",
        "pip install tensorrt_rtx_cu12_libs==1.7.1.116 tensorrt_rtx_cu12_bindings==1.7.1.116",
    ),
}
PLAN = "model.plan"
BUILT = "Engine Layer Information"  # begins the builder's list of what it made, which it holds for a detail


@dataclass(frozen=True)
class Profile:
    """Utterances that a plan takes, in samples; it is tuned for one of ``typical`` length."""

    shortest: int
    typical: int
    longest: int
    max_batch: int

    @classmethod
    def of(cls, samples: Sequence[int], max_samples: int, max_batch: int) -> "Profile":
        """For utterances of these ``samples``, tuned for their median; the limits are wider, since a plan takes nothing
        beyond: from the shortest that has a frame to ``max_samples``, or their longest where that is longer."""
        return cls(min(MIN_SAMPLES, *samples), int(median(samples)), max(max_samples, *samples), max_batch)


@functools.cache
def library(backend: str) -> ModuleType:
    """The backend's package."""
    name, install = LIBRARIES[backend]
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as missing:
        raise StableQuantError(f"package {name}", f"cannot be loaded ({missing})", f"run: {install}") from missing


def version(backend: str) -> str:
    return str(library(backend).__version__)


@functools.cache
def _logger(backend: str) -> Any:
    """Passes the library's messages on to Python's log."""
    trt = library(backend)
    kinds = trt.ILogger.Severity
    levels = {
        kinds.INTERNAL_ERROR: logging.ERROR,
        kinds.ERROR: logging.ERROR,
        kinds.WARNING: logging.WARNING,
        kinds.INFO: logging.INFO,
    }

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = logging.INFO if message.startswith(BUILT) else levels.get(severity, logging.DEBUG)
            logging.getLogger("tensorrt").log(level, message)

    return Log()


def build(
    backend: str,
    onnx: Path,
    folder: Path,
    compute_capabilities: Sequence[str],
    profile: Profile,
    timing_cache: Path | None = None,
) -> None:
    """Build ``folder/model.plan`` from ``onnx``.

    A plan of TensorRT for RTX is for each of ``compute_capabilities`` ("8.6", ...). Types are those of the graph
    (strongly typed network), so nothing falls back silently. ``timing_cache`` keeps what TensorRT measured on this GPU
    for the next build.
    """
    trt, logger = library(backend), _logger(backend)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        raise StableQuantError(onnx, f"TensorRT cannot read the graph ({parser.get_error(0)})", "export it again")
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    shapes.set_shape(INPUT, (1, profile.shortest), (1, profile.typical), (profile.max_batch, profile.longest))
    config.add_optimization_profile(shapes)
    if backend == "tensorrt-rtx":
        config.num_compute_capabilities = len(compute_capabilities)
        for index, capability in enumerate(compute_capabilities):
            config.set_compute_capability(_compute_capability(trt, capability), index)
    if timing_cache:
        known = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StableQuantError(onnx, "TensorRT could not build a plan", "see the job's log for the builder's messages")
    (folder / PLAN).write_bytes(plan)
    if timing_cache:
        with replacing(timing_cache) as temporary:
            temporary.write_bytes(config.get_timing_cache().serialize())


def _compute_capability(trt: ModuleType, capability: str) -> Any:
    known = trt.ComputeCapability.__members__
    name = "SM" + capability.replace(".", "")
    if name not in known:
        supported = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in known if n.startswith("SM"))
        raise StableQuantError(
            "config key 'tensorrt: compute_capabilities'", f"no plan can be built for {capability}", f"take {supported}"
        )
    return known[name]


def precisions(_folder: Path, _modules: Sequence[QuantizedModule]) -> dict[str, str]:
    """Nothing: the builder fuses the whole network into one node, as its log tells, and so does not say; the GPU's own
    compiler decides when it loads the plan."""
    return {}


def gpu_capability() -> str | None:
    """Compute capability of the first NVIDIA GPU that torch sees, "8.6"; None where there is none."""
    import torch

    return ".".join(map(str, torch.cuda.get_device_capability())) if torch.cuda.is_available() else None


def why_not_run(description: Mapping[str, Any], capability: str | None, installed: str) -> str | None:
    """What keeps a plan of `engine.json`'s ``description`` from running on a GPU of ``capability`` with the
    ``installed`` version; None if nothing does."""
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


def reason_not_run(folder: Path) -> str | None:
    """What keeps the plan in ``folder`` from running here; None if nothing does."""
    description = read_engine(folder)
    return why_not_run(description, gpu_capability(), version(description["backend"]))


def arithmetic(folder: Path) -> str:
    """That quantized layers run in: types are the graph's."""
    return FLOAT32 if read_engine(folder).get("method") == "fp32" else INT8


def load(folder: Path) -> Infer:
    """The plan as a function of a batch of audio, run on the first GPU with torch's tensors as buffers.

    Raises
    ------
    StableQuantError
        where there is no GPU, or the plan is for another one or of another version, or damaged.
    """
    reason = reason_not_run(folder)
    if reason:
        raise StableQuantError(folder / PLAN, reason, "build it on this machine, or take another engine")
    import torch

    backend = read_engine(folder)["backend"]
    trt = library(backend)
    engine = trt.Runtime(_logger(backend)).deserialize_cuda_engine((folder / PLAN).read_bytes())
    if engine is None:
        raise StableQuantError(folder / PLAN, "damaged, or not a plan", "build it again")
    context = engine.create_execution_context()
    stream = torch.cuda.Stream()

    def infer(audio: np.ndarray) -> np.ndarray:
        samples = torch.from_numpy(audio).cuda()
        if not context.set_input_shape(INPUT, tuple(samples.shape)):
            raise StableQuantError(
                folder / PLAN,
                f"takes no batch of {samples.shape[0]} utterances of {samples.shape[1]} samples",
                "raise 'max_samples' or 'max_batch' of 'tensorrt' in the config, and build it again",
            )
        logits = torch.empty(tuple(context.get_tensor_shape(OUTPUT)), device="cuda")
        context.set_tensor_address(INPUT, samples.data_ptr())
        context.set_tensor_address(OUTPUT, logits.data_ptr())
        stream.wait_stream(torch.cuda.current_stream())
        if not context.execute_async_v3(stream.cuda_stream):
            raise StableQuantError(folder / PLAN, "the GPU could not run it", "see TensorRT's messages in the log")
        stream.synchronize()
        return logits.cpu().numpy()

    return infer
