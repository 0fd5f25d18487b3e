"""An embedding reads the INT8 weight of the product that it shares its table with."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from distributions import noise
from onnx import TensorProto, helper, numpy_helper

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.engines.tied_embedding import float_tables
from stablequant.quantization.int8 import Range, dequantized, quantize_weight
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.onnx_graph import load_graph, save_graph

CLASSES, WIDTH = 7, 5
TABLE = noise(CLASSES, WIDTH).astype(np.float32)
MODULE = QuantizedModule("head", "head", "head", "head")
TOKENS = np.array([[6, 0, 3], [3, 3, 1]])


def reading_and_writing(path: Path, table: np.ndarray) -> Path:
    """A graph that looks ``tokens`` up in ``table`` and multiplies what it finds by `TABLE`."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"], name="embed"),
        helper.make_node("Identity", ["rows"], ["embedded"], name="same"),
        helper.make_node("MatMul", ["rows", "weight"], ["logits"], name="head"),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "tokens"])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "tokens", size])
        for name, size in (("embedded", WIDTH), ("logits", CLASSES))
    ]
    arrays = {"table": table, "weight": np.ascontiguousarray(TABLE.T)}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "tied", [tokens], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def quantized(path: Path, table: np.ndarray, scales: np.ndarray | None) -> tuple[Path, np.ndarray]:
    """The quantized graph, and what its embedding gives for `TOKENS`."""
    source = reading_and_writing(path / "fp32.onnx", table)
    given = {} if scales is None else {"head": scales}
    insert_qdq({"one": source}, [MODULE], {"head": Range.symmetric(3)}, given, {"one": path / "int8.onnx"})
    return path / "int8.onnx", embedded_by(path / "int8.onnx")


def embedded_by(graph: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["embedded"], {"tokens": TOKENS})[0]


either = pytest.mark.parametrize("scales", [None, np.float32([0.5, 1, 2, 4, 0.25])], ids=["plain", "equalised"])


@either
def test_the_embedding_gives_the_rows_of_the_heads_levels(tmp_path, scales):
    graph, embedded = quantized(tmp_path, TABLE, scales)
    weight = dequantized(*quantize_weight(TABLE if scales is None else TABLE * scales))
    assert embedded == pytest.approx((weight if scales is None else weight / scales)[TOKENS], rel=1e-6)
    assert not np.array_equal(embedded, TABLE[TOKENS])
    large = [tensor for tensor in onnx.load(graph).graph.initializer if np.prod(tensor.dims) >= TABLE.size]
    assert [tensor.data_type for tensor in large] == [TensorProto.INT8]


def test_a_table_of_its_own_stays(tmp_path):
    other = TABLE + np.float32(0.001)
    _, embedded = quantized(tmp_path, other, None)
    assert np.array_equal(embedded, other[TOKENS])


@either
def test_a_table_in_float32_gives_the_same_rows(tmp_path, scales):
    graph, embedded = quantized(tmp_path, TABLE, scales)
    model = load_graph(graph)
    assert float_tables(model.graph)
    save_graph(model, tmp_path / "float.onnx")
    onnx.checker.check_model(tmp_path / "float.onnx", full_check=True)
    assert embedded_by(tmp_path / "float.onnx") == pytest.approx(embedded, rel=1e-6)
    assert not float_tables(load_graph(tmp_path / "fp32.onnx").graph)
    assert not float_tables(load_graph(tmp_path / "float.onnx").graph)
