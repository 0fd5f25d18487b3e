"""What takes one line instead of a search: weights alone in INT8, and what quantizes activations while it runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import openvino as ov
from by_onnxruntime import Reader, quantize_graph, quantize_graph_dynamically
from noise import noise

from stablequant.engines import onnxruntime
from stablequant.engines.openvino import has_bfloat16
from stablequant.engines.precision import BFLOAT16, FLOAT32, INT8
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.family import Network

GROUP = 128  # values that are quantized together, the setting that is fastest on CPUs
SATURATING = "int8, saturating"
Load = Callable[[], tuple[Network, str]]
Engine = tuple[str, str, Path, Load]  # backend, precision, file or folder, how it is loaded


def compile_as_it_is(network: Path, floating: str, threads: int, **settings: object) -> ov.CompiledModel:
    """A network of OpenVINO's or an ONNX graph, with nothing that the project does to it before.

    ``floating`` is in OpenVINO's spelling, ``f32`` or ``bf16``; ``settings`` are further ones of OpenVINO's.
    """
    settings |= {"INFERENCE_PRECISION_HINT": floating, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    return ov.compile_model(ov.Core().read_model(network), "CPU", settings)


def load_openvino_otherwise(folder: Path, precision: str, threads: int) -> tuple[Network, str]:
    """OpenVINO's network as the project does not run it: ``bf16`` throughout, or `SATURATING`, kept in INT8 kernels
    that are wrong."""

    hint = "bf16" if precision == "bf16" else "f32"
    compiled = compile_as_it_is(folder / f"{GRAPH}.xml", hint, threads)
    runs = BFLOAT16 if compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16 else FLOAT32
    return (lambda tensors: {OUTPUT: compiled([tensors[INPUT]])[0]}), INT8 if precision == SATURATING else runs


def load_onnxruntime(folder: Path, threads: int) -> tuple[Network, str]:
    """ONNX Runtime's graph, of which products are computed in INT8 although the graph may not say so."""
    network, _ = onnxruntime.load_network(folder / f"{GRAPH}.onnx", SIGNATURE, threads)
    return network, INT8


def weight_engines(_checkpoint: Path, folder: Path, threads: int) -> list[Engine]:
    """OpenVINO's, with the weights that NNCF compresses, as it comes and with `GROUP`."""
    from by_nncf import compress_weights

    found: list[Engine] = []
    floating = {"int8 weights": "f32"} | ({"int8 weights, bf16": "bf16"} if has_bfloat16() else {})
    for backend, group in (("openvino-nncf-weights", None), (f"openvino-nncf-weights-{GROUP}", GROUP)):
        built = folder / backend
        built.mkdir()
        compress_weights(folder / "fp32.onnx", built / f"{GRAPH}.xml", group)
        for name, precision in floating.items():
            found.append((backend, name, built, partial(load_openvino_otherwise, built, precision, threads)))
    return found


def onnxruntime_engines(_checkpoint: Path, folder: Path, threads: int) -> list[Engine]:
    """ONNX Runtime's products in INT8, calibrated or quantized while it runs, and convolutions in floating point."""
    graph, found = folder / "fp32.onnx", []
    for name in ("int8, dynamic", "int8, products"):
        built = folder / "onnxruntime" / name.replace(", ", "-")
        built.mkdir()
        if name == "int8, dynamic":
            quantize_graph_dynamically(graph, built / f"{GRAPH}.onnx", everything=False)
        else:
            quantize_graph(graph, built / f"{GRAPH}.onnx", Reader(iter([{INPUT: noise(1, 8)}])), convolutions=False)
        found.append(("onnxruntime", name, built, partial(load_onnxruntime, built, threads)))
    return found
