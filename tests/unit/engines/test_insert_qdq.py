"""Graphs of one product after Q/DQ pairs were inserted, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from distributions import noise
from onnx import TensorProto, helper, numpy_helper

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.int8 import Carried, Range, dequantized, quantize_weight
from stablequant.recognisers.modules import QuantizedModule

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


def run(graph: Path, values: np.ndarray, output: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run([output], {"x": values})[0]


@pytest.mark.parametrize("scales", [None, np.float32([1, 2, 0.5, 1, 3])], ids=["plain", "equalised"])
@pytest.mark.parametrize("ends", [(-0.2, 3.0), (-3.0, 3.0)], ids=["own centre", "centre 0"])
@pytest.mark.parametrize("outputs", [{"logits": "product"}, {"logits": "sum"}], ids=["no bias", "bias"])
def test_carried_channels_have_16_bits_and_leave_the_rest_its_steps(tmp_path, outputs, ends, scales):
    """They reach 40 times as far; the rest is rounded as if they were not there."""
    channels, divisors = (1, 3), np.ones(5, dtype=np.float32) if scales is None else scales
    chosen = Range(*ends, carried=Carried(channels, 120.0))
    fp32, int8 = one_product(tmp_path / "fp32.onnx", outputs), tmp_path / "int8.onnx"
    insert_qdq({"one": fp32}, [MODULE], {"head": chosen}, {} if scales is None else {"head": scales}, {"one": int8})
    onnx.checker.check_model(onnx.load(int8), full_check=True)
    divided = noise(50, 5, seed=1).clip(*ends)
    divided[:, channels] *= 40
    rounded = np.rint((divided - chosen.centre) / chosen.scale) * chosen.scale + chosen.centre
    rounded[:, channels] = divided[:, channels]
    weight = dequantized(*quantize_weight(WEIGHT * divisors))
    expected = rounded @ weight.T + (BIAS if "sum" in outputs.values() else 0)
    found = run(int8, (divided * divisors).astype(np.float32), "logits")
    finest = chosen.carried.range.rest_scale
    assert finest < chosen.scale / 3
    assert np.abs(found - expected).max() < finest * np.abs(weight).sum(axis=1).max()


def test_carried_channels_of_a_convolution_are_padded_and_strided_as_its_own(tmp_path):
    weight, bias = noise(4, 6, 3).astype(np.float32), np.float32([1, 2, 3, 4])
    node = helper.make_node("Conv", ["x", "weight", "bias"], ["y"], "head", strides=[2], pads=[1, 1], kernel_shape=[3])
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6, "frames"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, "half"])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "fp32.onnx")
    chosen = Range(-3, 3, carried=Carried((0, 5), 120.0))
    insert_qdq({"one": tmp_path / "fp32.onnx"}, [MODULE], {"head": chosen}, {}, {"one": tmp_path / "int8.onnx"})
    values = noise(2, 6, 21, seed=1).clip(-3, 3).astype(np.float32)
    values[:, [0, 5]] *= 40
    rounded = torch.from_numpy(values.copy())
    rounded[:, 1:5] = (rounded[:, 1:5] / chosen.scale).round() * chosen.scale
    levels = torch.from_numpy(dequantized(*quantize_weight(weight)))
    expected = torch.nn.functional.conv1d(rounded, levels, torch.from_numpy(bias), 2, 1).numpy()
    found = run(tmp_path / "int8.onnx", values, "y")
    assert np.abs(found - expected).max() < chosen.carried.range.rest_scale * np.abs(weight).sum(axis=(1, 2)).max()


def test_all_products_read_levels_of_one_weight_with_the_same_scales(tmp_path):
    fp32, int8 = one_product(tmp_path / "fp32.onnx", {"logits": "sum"}), tmp_path / "int8.onnx"
    insert_qdq({"one": fp32}, [MODULE], {"head": Range(-3, 3, carried=Carried((1, 3), 120.0))}, {}, {"one": int8})
    model = onnx.load(int8)
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    levels, scales = quantize_weight(WEIGHT)
    assert np.array_equal(constants["head/weight"], levels.T)
    for label in ("coarse", "fine"):
        assert constants[f"head/{label}/weight"].tolist() == levels.T[[1, 3]].tolist()
        assert constants[f"head/{label}/weight_scale"].tolist() == scales.tolist()
    points = [node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(points) == 3 and {int(constants[name]) for name in points} == {0}


def test_channels_of_a_grouped_convolution_are_not_carried(tmp_path):
    weight = noise(4, 3, 3).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight"], ["y"], "head", group=2)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6, "frames"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, "fewer"])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "fp32.onnx")
    chosen = {"head": Range(-3, 3, carried=Carried((0,), 120.0))}
    with pytest.raises(ValueError, match="head has several groups of channels, so none can be carried"):
        insert_qdq({"one": tmp_path / "fp32.onnx"}, [MODULE], chosen, {}, {"one": tmp_path / "int8.onnx"})
