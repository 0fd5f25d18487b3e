"""TensorRT for RTX: plans for GPUs of a named compute capability, built without one."""

import logging
from collections.abc import Sequence
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.layers import QuantizedModule

try:
    import tensorrt_rtx_bindings as trt
except ImportError as missing:
    raise StableQuantError(
        "package tensorrt_rtx_bindings",
        f"TensorRT for RTX cannot be loaded ({missing})",
        "run: pip install tensorrt_rtx_cu12_libs==1.7.1.116 tensorrt_rtx_cu12_bindings==1.7.1.116",
    ) from missing

SHORTEST = 400  # samples; one frame


LOG_LEVELS = {
    trt.ILogger.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.ERROR: logging.ERROR,
    trt.ILogger.WARNING: logging.WARNING,
    trt.ILogger.INFO: logging.DEBUG,
    trt.ILogger.VERBOSE: logging.DEBUG,
}


class _Log(trt.ILogger):
    """Passes the builder's messages on to Python's log."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        logging.getLogger("tensorrt").log(LOG_LEVELS[severity], msg)


def version() -> str:
    return trt.__version__


def reason_not_run() -> str:
    """Why a built plan is not judged here."""
    return "running plans is not implemented" if Path("/dev/nvidia0").exists() else "no supported GPU"


def build(
    onnx: Path, folder: Path, compute_capabilities: list[str], typical_samples: int, max_samples: int, max_batch: int
) -> None:
    """Build ``folder/model.plan`` from ``onnx`` for each of ``compute_capabilities`` ("8.6", ...).

    The plan takes 1 to ``max_batch`` utterances of up to ``max_samples`` samples and is tuned for one of
    ``typical_samples``. Types are those of the graph (strongly typed network), so nothing falls back silently.
    """
    logger = _Log()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        raise StableQuantError(onnx, f"TensorRT cannot read the graph ({parser.get_error(0)})", "export it again")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("input_values", (1, SHORTEST), (1, typical_samples), (max_batch, max_samples))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = len(compute_capabilities)
    for index, capability in enumerate(compute_capabilities):
        config.set_compute_capability(_compute_capability(capability), index)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StableQuantError(onnx, "TensorRT could not build a plan", "see the job's log for the builder's messages")
    (folder / "model.plan").write_bytes(plan)


def precisions(_folder: Path, _modules: Sequence[QuantizedModule]) -> dict[str, str]:
    """Nothing: the GPU's own compiler decides when it loads the plan."""
    return {}


def _compute_capability(capability: str) -> trt.ComputeCapability:
    known = trt.ComputeCapability.__members__
    name = "SM" + capability.replace(".", "")
    if name not in known:
        supported = ", ".join(f"{n[2:-1]}.{n[-1]}" for n in known if n.startswith("SM"))
        raise StableQuantError(
            "config key 'tensorrt: compute_capabilities'", f"no plan can be built for {capability}", f"take {supported}"
        )
    return known[name]
