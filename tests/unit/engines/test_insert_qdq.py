"""Graphs of one product after Q/DQ pairs were inserted, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from distributions import noise
from onnx import TensorProto, helper, numpy_helper

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.int8 import Range, dequantized, quantize_weight
from stablequant.recognisers.family import QuantizedModule

MODULE = QuantizedModule("head", "head", "head", "head")
WEIGHT = noise(3, 5).astype(np.float32)
BIAS = np.float32([10, 20, 30])


def one_product(path: Path, outputs: dict[str, str]) -> Path:
    """A graph that multiplies ``x`` ``(frames, 5)`` by `WEIGHT` and adds `BIAS`.

    ``outputs`` maps names of outputs to what they are: ``product``, ``sum``, or ``twice`` (the product's).
    """
    names = {kind: name for name, kind in outputs.items()}
    product, total, twice = (names.get(kind, kind) for kind in ("product", "sum", "twice"))
    nodes = [helper.make_node("MatMul", ["x", "weight"], [product], name="head")]
    if "sum" in names:
        nodes.append(helper.make_node("Add", [product, "bias"], [total], name="add"))
    if "twice" in names:
        nodes.append(helper.make_node("Add", [product, product], [twice], name="double"))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["frames", width])
        for name, width in (("x", 5), *((name, 3) for name in outputs))
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(WEIGHT.T), "weight"),
        numpy_helper.from_array(BIAS, "bias"),
    ]
    graph = helper.make_graph(nodes, "one", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("chosen", [Range(-0.2, 3.0), Range(-2.0, 2.0), Range(0.0, 2.0, zero_level=True)])
@pytest.mark.parametrize(
    "outputs",
    [
        {"logits": "product"},
        {"logits": "sum"},
        {"logits": "product", "biased": "sum"},
        {"logits": "product", "biased": "sum", "doubled": "twice"},
        {"doubled": "twice"},
    ],
    ids=lambda outputs: " and ".join(outputs.values()),
)
def test_every_output_is_that_of_the_quantized_product(tmp_path, outputs, chosen):
    """The centre that the graph subtracts comes back in each output, whether there is a bias or not."""
    fp32 = one_product(tmp_path / "fp32.onnx", outputs)
    int8 = tmp_path / "int8.onnx"
    insert_qdq({"one": fp32}, [MODULE], {"head": chosen}, {}, {"one": int8})
    values = noise(50, 5, seed=1).astype(np.float32).clip(chosen.low, chosen.high)
    session = onnxruntime.InferenceSession(int8, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(outputs)
    found = dict(zip(outputs, session.run(list(outputs), {"x": values}), strict=True))
    rounded = np.rint((values - chosen.centre) / chosen.scale).clip(-128, 127) * chosen.scale + chosen.centre
    product = rounded @ dequantized(*quantize_weight(WEIGHT)).T
    expected = {"product": product, "sum": product + BIAS, "twice": 2 * product}
    for name, kind in outputs.items():
        assert np.abs(found[name] - expected[kind]).max() < 1e-3, name


def test_the_rest_of_a_split_input_reaches_the_graphs_output(tmp_path):
    fp32, int8, chosen = (
        one_product(tmp_path / "fp32.onnx", {"logits": "product"}),
        tmp_path / "int8.onnx",
        Range(-3, 3, True),
    )
    insert_qdq({"one": fp32}, [MODULE], {"head": chosen}, {}, {"one": int8})
    values = noise(50, 5, seed=1).astype(np.float32).clip(-3, 3)
    session = onnxruntime.InferenceSession(int8, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"x": values})
    assert np.abs(found - values @ dequantized(*quantize_weight(WEIGHT)).T).max() < 1e-3
