"""Graphs of a recogniser, and networks made of them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from recognising import Loaded

from stablequant.engines import openvino
from stablequant.engines.build_engine import Order, build_engine
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.engines.precision import FLOAT32
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.ctc.decoding import GRAPH, INPUT, OUTPUT, SIGNATURE
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.family import Network
from stablequant.recognisers.modules import QuantizedModule

SETTINGS = {"openvino": {"floating": FLOAT32}, "onnxruntime": {}}  # the config's blocks, by backend


def export(loaded: Loaded, graph: Path) -> Path:
    """The fp32 graph of a recogniser, written to ``graph``."""
    export_onnx(loaded.folder, graph, threads=2)
    return graph


def quantize_graph(
    fp32: Path,
    modules: Sequence[QuantizedModule],
    ranges: Mapping[str, Range],
    scales: Mapping[str, np.ndarray],
    int8: Path,
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> Path:
    """The graph ``fp32`` with ``modules`` in INT8, written to ``int8``."""
    insert_qdq({GRAPH: fp32}, modules, ranges, scales, {GRAPH: int8}, rounded)
    return int8


def ranges_of_noise(loaded: Loaded, modules: Sequence[QuantizedModule]) -> dict[str, Range]:
    """All that a recogniser's activations reach over two seconds of noise, as the extended procedure prepares them."""
    preparation = Preparation(recentre=True, split_audio=True)
    with collecting(loaded.model, modules, preparation) as collectors, torch.inference_mode():
        loaded.model(torch.randn(2, 16_000))
    return {name: full_range(h) for name, h in collectors.histograms().items()}


def build(
    loaded: Loaded, graph: Path, folder: Path, backend: str = "openvino", float_layers: Collection[str] = ()
) -> Path:
    """The engine of ``graph`` for a CPU, with its front end, in ``folder``."""
    order = Order(backend, graph.stem, SETTINGS[backend], [], float_layers)
    build_engine(order, graph, loaded.folder, loaded.modules, folder)
    return folder


def openvino_network(graph: Path, floating: str = FLOAT32) -> tuple[Network, str]:
    """OpenVINO's network of ``graph``, whose files lie beside it, and its arithmetic."""
    file = graph.with_suffix(".xml")
    openvino.convert(graph, file)
    return openvino.load_network(file, SIGNATURE, 2, floating)


def onnx_network(graph: Path, optimised: bool = False, output: str = OUTPUT) -> Network:
    """``graph`` in ONNX Runtime, computed node by node unless it is ``optimised``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda tensors: {output: session.run([output], dict(tensors))[0]}


def logits_of(network: Network, audio: np.ndarray) -> np.ndarray:
    """What ``network`` makes of prepared audio ``(batch, samples)``."""
    return network({INPUT: audio})[OUTPUT]


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    """Root of the mean squared difference, in standard deviations of ``expected``."""
    return float(np.sqrt(((found - expected) ** 2).mean() / expected.var()))
