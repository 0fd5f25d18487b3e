"""ONNX Runtime on the CPU: a portable engine that consists of the ONNX graphs themselves."""

import functools
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from stablequant.engines.backend import Loaded, Request
from stablequant.engines.description import Description
from stablequant.engines.folder import network_file
from stablequant.engines.onnxruntime_products import SHARING, prepare_products
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.engines.tensors import check_tensors
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network, Signature
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import data_beside

INTEGER_PRODUCTS = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger")
QUIET = 3  # log only errors


class OnnxRuntime:
    """See `stablequant.engines.backend.Backend`."""

    def version(self) -> str:
        """Version of ONNX Runtime."""
        return str(ort.__version__)

    def build(self, request: Request, folder: Path) -> Description:
        """Copy the graphs, quantized ones as `prepare_products` changes them. They are optimised when they are loaded.

        Raises `StableQuantError` if a graph is larger than 2 GB.
        """
        for name, graph in request.graphs.items():
            if data_beside(graph).is_file():
                raise StableQuantError(
                    graph, "ONNX Runtime cannot load a graph of more than 2 GB", "build an OpenVINO engine instead"
                )
            shutil.copyfile(graph, folder / f"{name}.onnx")
            model = onnx.load(graph)
            if _is_quantized(model.graph):
                prepare_products(model.graph)
                onnx.save(model, folder / f"{name}.onnx")
        return {}

    def check(self, description: Description) -> bool:
        """True: nothing is needed beyond what every engine has."""
        return True

    def load(
        self,
        folder: Path,
        description: Description,
        signatures: Mapping[str, Signature],
        threads: int,
        cache: Path | None = None,
    ) -> Loaded:
        """Create a session for each graph."""
        networks, found = {}, []
        for name, signature in signatures.items():
            file = network_file(folder, description, f"{name}.onnx")
            networks[name], arithmetic = load_network(file, signature, threads)
            found.append(arithmetic)
        return Loaded(networks, INT8 if INT8 in found else FLOAT32)

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """The precisions in the optimised graphs."""
        runs: dict[str, str] = {}
        for graph in sorted(folder.glob("*.onnx")):
            runs |= precisions(graph, modules)
        return runs

    def reason_not_run(self, description: Description) -> str | None:
        """None: the engine runs on every CPU."""
        return None

    def max_batch(self, description: Description) -> float:
        """Infinity: there is no limit."""
        return math.inf


BACKEND = OnnxRuntime()


def load_network(file: Path, signature: Signature, threads: int) -> tuple[Network, str]:
    """The graph in ``file`` as a function of its inputs, and the arithmetic of its quantized layers on this CPU.

    Threads may call the function at the same time, as ONNX Runtime promises for its sessions.

    Raises `StableQuantError` if the graph is damaged or does not match ``signature``.
    """
    session, arithmetic = _session(file, threads)
    inputs = [({tensor.name}, len(tensor.shape)) for tensor in session.get_inputs()]
    outputs = [({tensor.name}, len(tensor.shape)) for tensor in session.get_outputs()]
    check_tensors(signature, inputs, outputs, file)
    wanted = list(signature.outputs)

    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(wanted, session.run(wanted, dict(tensors)), strict=True))

    return network, arithmetic


def precisions(file: Path, modules: Sequence[QuantizedModule]) -> dict[str, str]:
    """The precision of each of ``modules`` on this CPU, by module name, from the optimised graph."""
    with TemporaryDirectory() as temporary:
        optimised = Path(temporary) / "optimised.onnx"
        _session(file, threads=1, optimised=optimised)
        graph = onnx.load(optimised, load_external_data=False).graph
    kinds = {node.name: node.op_type for node in graph.node}
    return {m.module: INT8 if kinds[m.module] in INTEGER_PRODUCTS else FLOAT32 for m in modules if m.module in kinds}


def _session(graph: Path, threads: int, optimised: Path | None = None) -> tuple[ort.InferenceSession, str]:
    """A session, and the arithmetic of its quantized products.

    Quantized products are computed in float32 if the CPU's INT8 kernels saturate. ``optimised`` is a file for the
    optimised graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    if optimised:
        options.optimized_model_filepath = str(optimised)
    arithmetic = FLOAT32
    content = _read(graph)
    if _is_quantized(content):
        arithmetic = INT8 if int8_kernels_are_exact() else FLOAT32
        if arithmetic == FLOAT32:
            logging.warning(
                "without VNNI instructions this CPU's INT8 sums overflow; the engine runs in float32 instead"
            )
            options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        disabled = SHARING if arithmetic == INT8 else []
        session = ort.InferenceSession(graph, options, ["CPUExecutionProvider"], disabled_optimizers=disabled)
        return session, arithmetic
    except Exception as error:  # the library has no exception class of its own for unreadable graphs
        raise StableQuantError(graph, f"ONNX Runtime cannot load it ({error})", "build the engine again") from error


def _is_quantized(graph: onnx.GraphProto) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in graph.node)


def _read(graph: Path) -> onnx.GraphProto:
    """Read a graph; raise `StableQuantError` if it is damaged or reads weights from other files."""
    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf has several exception classes, and they change between versions
        raise StableQuantError(graph, f"not an ONNX graph ({error})", "build the engine again") from error
    parts = [model.graph, *model.functions]
    if any(tensor.data_location == TensorProto.EXTERNAL for part in parts for tensor in _tensors(part)):
        raise StableQuantError(graph, "it reads weights from another file", "do not use it, build the engine again")
    return model.graph


def _tensors(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[TensorProto]:
    """All tensors in ``part`` and in the graphs inside its nodes."""
    if isinstance(part, onnx.GraphProto):
        yield from part.initializer
        yield from (tensor for sparse in part.sparse_initializer for tensor in (sparse.values, sparse.indices))
    for attribute in (attribute for node in part.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors(graph)


@functools.cache
def int8_kernels_are_exact() -> bool:
    """Whether this CPU multiplies the largest INT8 numbers correctly.

    `stablequant.engines.openvino.int8_kernels_are_exact` explains why some CPUs do not.
    """
    size = 64
    weight = numpy_helper.from_array(np.full((size, size), 127, dtype=np.int8), "weight")
    step = numpy_helper.from_array(np.array(1 / 127, dtype=np.float32), "step")
    zero = numpy_helper.from_array(np.array(0, dtype=np.int8), "zero")
    nodes = [
        helper.make_node("QuantizeLinear", ["audio", "step", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["weight", "step", "zero"], ["weights"]),
        helper.make_node("MatMul", ["values", "weights"], ["product"]),
    ]
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, size])
    product = helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, size])
    graph = helper.make_graph(nodes, "largest", [audio], [product], [weight, step, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"audio": np.ones((1, size), dtype=np.float32)})[0]
    return bool(np.allclose(found, size, rtol=0.01))
