"""Quantizers placed into a recogniser of two graphs, of which one module is in both."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.int8 import Range
from stablequant.recognisers.modules import QuantizedModule


class TestTwoGraphs:
    """Quantizers placed into a recogniser of two graphs, of which one module is in both."""

    MODULES = (
        QuantizedModule("shared", "shared", "first.shared", "shared"),
        QuantizedModule("encoder", "encoder", "only.encoder", "encoder"),
        QuantizedModule("decoder", "decoder", "only.decoder", "decoder"),
    )
    RANGES = {name: Range.symmetric(3.0) for name in ("shared", "encoder", "decoder")}  # noqa: RUF012

    @pytest.fixture
    def sources(self, tmp_path) -> dict[str, Path]:
        return {
            "encoder": self.product(tmp_path / "fp32.onnx", ["first.shared", "only.encoder"]),
            "decoder": self.product(tmp_path / "fp32.decoder.onnx", ["first.shared", "only.decoder"]),
        }

    @staticmethod
    def product(path: Path, names: list[str]) -> Path:
        """A chain of products with the nodes' ``names``, 4 features wide."""
        draw = np.random.default_rng(0)
        nodes, weights = [], []
        for number, name in enumerate(names):
            weight = draw.standard_normal((4, 4), dtype=np.float32)
            weights.append(onnx.numpy_helper.from_array(weight, f"w{number}"))
            nodes.append(helper.make_node("MatMul", [f"v{number}", f"w{number}"], [f"v{number + 1}"], name=name))
        ends = [helper.make_tensor_value_info(f"v{end}", TensorProto.FLOAT, ["n", 4]) for end in (0, len(names))]
        graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
        return path

    def insert(self, sources: dict[str, Path], modules: tuple[QuantizedModule, ...]) -> dict[str, onnx.GraphProto]:
        destinations = {name: path.with_name(f"int8.{path.name}") for name, path in sources.items()}
        insert_qdq(sources, modules, self.RANGES, {}, destinations)
        return {name: onnx.load(path).graph for name, path in destinations.items()}

    @staticmethod
    def quantized(graph: onnx.GraphProto) -> set[str]:
        """Nodes whose input and weight pass a DequantizeLinear, with INT8 weights."""
        producers = {output: node for node in graph.node for output in node.output}
        constants = {c.name: c.data_type for c in graph.initializer}
        return {
            node.name
            for node in graph.node
            if node.op_type == "MatMul"
            and all(name in producers and producers[name].op_type == "DequantizeLinear" for name in node.input)
            and constants[producers[node.input[1]].input[0]] == TensorProto.INT8
        }

    def test_a_module_is_quantized_in_each_graph_that_has_it(self, sources):
        graphs = self.insert(sources, self.MODULES)
        assert self.quantized(graphs["encoder"]) == {"first.shared", "only.encoder"}
        assert self.quantized(graphs["decoder"]) == {"first.shared", "only.decoder"}
        graphs = self.insert(sources, self.MODULES[:1])
        assert self.quantized(graphs["encoder"]) == self.quantized(graphs["decoder"]) == {"first.shared"}

    def test_a_graph_without_any_module_stays_as_it_is(self, sources):
        graphs = self.insert(sources, self.MODULES[2:])
        assert self.quantized(graphs["encoder"]) == set()
        assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in graphs["encoder"].node}
        assert self.quantized(graphs["decoder"]) == {"only.decoder"}

    def test_a_module_that_no_graph_has_is_refused(self, sources):
        gone = QuantizedModule("shared", "shared", "only.gone", "shared")
        with pytest.raises(ValueError, match=r"no node computes \['only\.gone'\]"):
            self.insert(sources, (*self.MODULES, gone))
        with pytest.raises(ValueError, match=r"no node computes \['only\.decoder'\]"):
            self.insert({"encoder": sources["encoder"]}, self.MODULES)
