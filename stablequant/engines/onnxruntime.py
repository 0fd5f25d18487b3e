"""ONNX Runtime on the CPU: the portable engine, which is the graph itself."""

import functools
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from stablequant.engines.backend import Description, Loaded, Request
from stablequant.engines.precision import FLOAT32, INT8
from stablequant.engines.tensors import check_tensors
from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Network, QuantizedModule, Signature
from stablequant.storage.files import data_beside

INTEGER_PRODUCTS = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger")
QUIET = 3  # errors only


class OnnxRuntime:
    """See `stablequant.engines.backend.Backend`."""

    def version(self) -> str:
        """Of ONNX Runtime."""
        return str(ort.__version__)

    def build(self, request: Request, folder: Path) -> dict[str, Any]:
        """Copy the graphs; the session optimises them for the CPU that it is loaded on."""
        for name, graph in request.graphs.items():
            if data_beside(graph).is_file():
                raise StableQuantError(
                    graph, "ONNX Runtime's engine takes no graph above 2 GB", "build OpenVINO's instead"
                )
            shutil.copyfile(graph, folder / f"{name}.onnx")
        return {}

    def check(self, description: Description) -> bool:
        """Nothing beyond what every engine has."""
        return True

    def load(self, folder: Path, description: Description, signatures: Mapping[str, Signature], threads: int) -> Loaded:
        """A session for each graph."""
        networks, found = {}, []
        for name, signature in signatures.items():
            networks[name], arithmetic = load_network(folder / f"{name}.onnx", signature, threads)
            found.append(arithmetic)
        return Loaded(networks, INT8 if INT8 in found else FLOAT32)

    def precisions(self, folder: Path, description: Description, modules: Sequence[QuantizedModule]) -> dict[str, str]:
        """As the optimised graphs tell."""
        runs: dict[str, str] = {}
        for graph in sorted(folder.glob("*.onnx")):
            runs |= precisions(graph, modules)
        return runs

    def reason_not_run(self, description: Description) -> str | None:
        """None: it runs on every CPU."""
        return None

    def max_batch(self, description: Description) -> float:
        """No limit."""
        return math.inf


BACKEND = OnnxRuntime()


def load_network(file: Path, signature: Signature, threads: int) -> tuple[Network, str]:
    """A graph as a function of its inputs, and the arithmetic its quantized layers run in on this CPU."""
    session, arithmetic = _session(file, threads)
    inputs = [({tensor.name}, len(tensor.shape)) for tensor in session.get_inputs()]
    outputs = [({tensor.name}, len(tensor.shape)) for tensor in session.get_outputs()]
    check_tensors(signature, inputs, outputs, file)
    wanted = list(signature.outputs)

    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(wanted, session.run(wanted, dict(tensors)), strict=True))

    return network, arithmetic


def precisions(file: Path, modules: Sequence[QuantizedModule]) -> dict[str, str]:
    """The precision that each of ``modules`` runs in on this CPU, by its name, as the optimised graph tells it."""
    with TemporaryDirectory() as temporary:
        optimised = Path(temporary) / "optimised.onnx"
        _session(file, threads=1, optimised=optimised)
        graph = onnx.load(optimised, load_external_data=False).graph
    kinds = {node.name: node.op_type for node in graph.node}
    return {m.module: INT8 if kinds[m.module] in INTEGER_PRODUCTS else FLOAT32 for m in modules if m.module in kinds}


def _session(graph: Path, threads: int, optimised: Path | None = None) -> tuple[ort.InferenceSession, str]:
    """A session, and whether its quantized products are integer ones; where those saturate, they are not."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    if optimised:
        options.optimized_model_filepath = str(optimised)
    arithmetic = FLOAT32
    content = _read(graph)
    if any(node.op_type == "QuantizeLinear" for node in content.node):
        arithmetic = INT8 if int8_kernels_are_exact() else FLOAT32
        if arithmetic == FLOAT32:
            logging.warning("this CPU has no VNNI and its INT8 kernels saturate; the engine runs in float32 instead")
            options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]), arithmetic
    except Exception as error:  # the library has no type of its own for what it cannot read
        raise StableQuantError(graph, f"ONNX Runtime cannot load it ({error})", "build the engine again") from error


def _read(graph: Path) -> onnx.GraphProto:
    """The graph, which must not read its weights from other files."""
    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf has several, and they change
        raise StableQuantError(graph, f"not an ONNX graph ({error})", "build the engine again") from error
    parts = [model.graph, *model.functions]
    if any(tensor.data_location == TensorProto.EXTERNAL for part in parts for tensor in _tensors(part)):
        raise StableQuantError(graph, "it reads weights from another file", "do not trust it")
    return model.graph


def _tensors(part: onnx.GraphProto | onnx.FunctionProto) -> Iterator[TensorProto]:
    """Everything that ``part`` and the graphs inside its nodes hold."""
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
    """Whether a product of the largest INT8 numbers comes out right on this CPU, see OpenVINO's."""
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
