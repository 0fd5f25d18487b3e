"""The description of an engine, ``engine.json``."""

from typing import TypedDict


class Description(TypedDict, total=False):
    """Content of ``engine.json``. The last five entries exist only for some backends or places.

    Attributes
    ----------
    backend, method: their names in the config
    version: version of the backend's library
    onnx_bytes: size of the ONNX graphs that the engine was built from
    size_bytes: size of the built networks
    float_layers: number of layers that are not quantized
    floating: OpenVINO: arithmetic of what is not quantized, ``float32`` or ``bfloat16``
    compute_capabilities: TensorRT: compute capabilities of the GPUs in the config, such as "8.6"
    gpu: TensorRT: compute capability of the GPU that it was built on; None if it is not bound to one
    profile: TensorRT: shortest, typical and longest size of each axis
    files: bundle: networks that lie elsewhere in the bundle, path relative to the engine's folder by file name
    """

    backend: str
    method: str
    version: str
    onnx_bytes: int
    size_bytes: int
    float_layers: int
    floating: str
    compute_capabilities: list[str]
    gpu: str | None
    profile: dict[str, list[int]]
    files: dict[str, str]
