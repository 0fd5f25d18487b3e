"""The part `machine` of `gpu.py`: what it runs on."""

import subprocess
from collections.abc import Iterator

import torch
from gpu_setting import GPU, row
from gpu_tensorrt import reason_not_built

from stablequant.engines.tensorrt import LIBRARIES, gpu_capability
from stablequant.workflow.provenance import packages, processor


def machine() -> Iterator[dict]:
    """The machine, its GPU and driver, the versions of what runs on it, and which of TensorRT's backends can."""
    yield row("CPU", "name", processor())
    if GPU:
        known = torch.cuda.get_device_properties(0)
        yield row("GPU", "name", known.name)
        yield row("GPU", "compute capability", gpu_capability())
        yield row("GPU", "memory", known.total_memory / 1e9, "GB")
        yield row("GPU", "driver", driver())
        yield row("torch", "CUDA", torch.version.cuda)
    for name, version in packages().items():
        yield row(name, "version", version)
    for name in LIBRARIES:
        yield row(name, "can build for this GPU", reason_not_built(name) or "yes")


def driver() -> str:
    """Version of NVIDIA's driver."""
    question = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(question, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as fault:
        return f"unknown ({fault})"
