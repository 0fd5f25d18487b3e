"""The provenance of a model or an engine: its inputs, settings, code and packages, the command and the machine."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from stablequant.storage.files import checksum, data_beside

PACKAGES = (
    *("torch", "transformers", "numpy", "onnx", "onnx-ir", "onnxscript", "openvino", "onnxruntime"),
    *("tensorrt-rtx-cu12-bindings", "tensorrt", "snakemake"),
)
FILE = "provenance.json"


class InputFiles(Protocol):
    """The input files of a job, by name."""

    def items(self) -> Iterable[tuple[str, str | Sequence[str]]]:
        """Name, and file or files."""


class Params(Protocol):
    """The parameters of a job, by name."""

    def items(self) -> Iterable[tuple[str, object]]:
        """Name and value."""


class Job(Protocol):
    """What Snakemake gives a script as ``snakemake``."""

    rule: str
    input: InputFiles
    output: Sequence[str]
    params: Params


def checksums(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of all files below a folder, by file name; names are relative to the folder.

    For a large ONNX graph the file of its weights is included.
    """
    if not path.is_dir():
        return {file.name: checksum(file) for file in (path, data_beside(path)) if file == path or file.is_file()}
    return {str(file.relative_to(path)): checksum(file) for file in sorted(path.rglob("*")) if file.is_file()}


def packages() -> dict[str, str]:
    """Versions of Python and of the installed packages that influence the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """Number of cores and name of this machine's CPU, with family and model: one name can mean several kinds."""
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    known = dict(reversed(fields))  # the fields of the first core
    if "model name" not in known:
        return platform.processor() or "an unknown CPU"
    cores = sum(name == "model name" for name, _ in fields)
    kind = f" (family {known['cpu family']}, model {known.get('model')})" if "cpu family" in known else ""
    return f"{cores} cores of {known['model name']}{kind}"


def provenance(rule: str, output: str, inputs: Mapping[str, Path], params: Mapping[str, object]) -> dict[str, object]:
    """The content of `provenance.json` for one job.

    ``output`` is the file that the job made, and ``inputs`` are the files that it read, by name. ``params`` are its
    settings and its ``code`` digest. The content has no time and no absolute path, so another run gives the same bytes.
    """
    settings = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in params.items()
        if name != "code"
    }
    return {
        "command": f"snakemake {output}",
        "rule": rule,
        "inputs": {name: checksums(path) for name, path in inputs.items()},
        "settings": settings,
        "code": params.get("code"),
        "packages": packages(),
        "hardware": processor(),
    }


def provenance_of(job: Job) -> dict[str, object]:
    """The `provenance` of a job of Snakemake."""
    inputs: dict[str, Path] = {}
    for name, value in job.input.items():
        files = {name: value} if isinstance(value, str) else {f"{name}/{i}": file for i, file in enumerate(value)}
        inputs |= {key: Path(file) for key, file in files.items()}
    return provenance(job.rule, str(job.output[0]), inputs, dict(job.params.items()))
