"""An engine of any backend, ready to recognise."""

from pathlib import Path

from stablequant.engines.folder import read_engine
from stablequant.engines.precision import FLOAT32
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.decoding import Infer

BACKENDS = ("openvino", "onnxruntime", "tensorrt-rtx", "tensorrt")


def load_engine(folder: Path, threads: int) -> tuple[Infer, str]:
    """The engine in ``folder`` as a function of a batch of audio, and the arithmetic that it runs in here.

    ``threads`` are those of a CPU's engine, 0 takes all cores. Only the backend's own library is imported.

    Raises
    ------
    StableQuantError
        when the engine cannot run on this machine, or is damaged.
    """
    description = read_engine(folder)
    backend = description["backend"]
    if backend not in BACKENDS:
        raise StableQuantError(folder / "engine.json", f"an engine of '{backend}'", f"known are {', '.join(BACKENDS)}")
    try:
        return _load(backend, folder, threads, description.get("floating", FLOAT32))
    except ImportError as missing:
        package = missing.name or backend
        raise StableQuantError(
            folder, f"{backend}'s engine needs the package {package} ({missing})", f"run: pip install {package}"
        ) from missing


def _load(backend: str, folder: Path, threads: int, floating: str) -> tuple[Infer, str]:
    if backend == "openvino":
        from stablequant.engines import openvino

        return openvino.load(folder, threads, floating)
    if backend == "onnxruntime":
        from stablequant.engines import onnxruntime

        return onnxruntime.load(folder, threads)
    from stablequant.engines import tensorrt

    return tensorrt.load(folder), tensorrt.arithmetic(folder)


def reason_not_run(folder: Path) -> str | None:
    """What keeps an engine from running on this machine; None if nothing does. Only a GPU's may have a reason."""
    if not read_engine(folder)["backend"].startswith("tensorrt"):
        return None
    from stablequant.engines import tensorrt

    return tensorrt.reason_not_run(folder)
