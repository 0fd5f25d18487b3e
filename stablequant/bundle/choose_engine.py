"""Choose the engine of a bundle that is run."""

from pathlib import Path

from stablequant.bundle.read_bundle import Bundle
from stablequant.engines.backend import BACKENDS
from stablequant.engines.running import reason_not_run
from stablequant.errors import StableQuantError


def choose_engine(bundle: Bundle, backend: str | None) -> Path:
    """The folder of the engine of ``backend``, or, if it is None, of the first backend that runs on this machine.

    Raises `StableQuantError` if the bundle has no such engine, or if a file of it is missing or was changed.
    """
    if backend is not None:
        return bundle.engine(backend)
    reasons = []
    for name in sorted(bundle.backends, key=_preference):
        engine = bundle.engine(name)
        try:
            reason = reason_not_run(engine)
        except StableQuantError as error:  # as where its library is not installed
            reason = str(error)
        if reason is None:
            return engine
        reasons.append(f"{name}: {reason}")
    if not reasons:
        raise StableQuantError(bundle.folder, "it has no engine", "copy the bundle again")
    raise StableQuantError(
        bundle.folder,
        f"no engine in it runs on this machine ({'; '.join(reasons)})",
        "use it where one of them runs, or quantize again with --engines openvino",
    )


def _preference(backend: str) -> int:
    """The place of a backend in the order of `BACKENDS`; unknown ones come last."""
    return [*BACKENDS, backend].index(backend)
