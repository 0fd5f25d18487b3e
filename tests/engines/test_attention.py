"""Attention in the graph and in OpenVINO: no mask, keys as they are, one operation, the same numbers."""

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from graphs import logits_of
from openvino import opset13 as ops
from recognising import Loaded, torch_network
from wav2vec2_files import write_tiny_checkpoint

from stablequant.engines.openvino_attention import TURNED, fold_key_transpose, fuse_growing_attention
from stablequant.recognisers.ctc.export_onnx import export_logits
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.storage.onnx_graph import save_graph

FRAMES, HEADS, FEATURES = 7, 2, 4


def turned(model: ov.Model) -> int:
    """How many times keys are turned over."""
    return sum(
        node.get_type_name() == "Transpose" and node.input_value(1).get_node().data.tolist() == TURNED
        for node in model.get_ordered_ops()
    )


def network(readers: str) -> ov.Model:
    """Scores of keys, and of ``readers`` of them: one product, two, or one besides something else."""
    queries = ops.parameter([-1, HEADS, -1, FEATURES], np.float32)
    keys = ops.parameter([-1, -1, HEADS, FEATURES], np.float32)
    over = ops.transpose(keys, TURNED)
    scores = [ops.matmul(queries, over, False, False)]
    if readers == "two":
        scores.append(ops.matmul(ops.multiply(queries, np.float32(2)), over, False, False))
    if readers == "other":
        scores.append(ops.relu(over))
    return ov.Model(scores, [queries, keys], "network")


@pytest.mark.parametrize(("readers", "left"), [("one", 0), ("two", 0), ("other", 1)])
def test_scores_are_the_same_and_keys_turned_over_only_for_others(readers, left):
    plain, rewritten = network(readers), network(readers)
    fold_key_transpose(rewritten)
    assert turned(plain) == 1
    assert turned(rewritten) == left
    draw = np.random.default_rng(0)
    queries = draw.standard_normal((3, HEADS, FRAMES, FEATURES), dtype=np.float32)
    keys = draw.standard_normal((3, FRAMES + 2, HEADS, FEATURES), dtype=np.float32)
    wanted = np.einsum("bhqf,bkhf->bhqk", queries, keys)
    for model in (plain, rewritten):
        found = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([queries, keys])
        assert found[0].shape == wanted.shape
        assert np.abs(found[0] - wanted).max() < 1e-5


def test_the_graph_has_no_mask_and_the_model_keeps_its_own(tmp_path):
    write_tiny_checkpoint(tmp_path / "source", "hubert")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    loaded = Loaded.load(tmp_path / "checkpoint")
    model = loaded.model
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    padded = torch.ones(2, 16_000, dtype=torch.long)
    padded[1, 8000:] = 0
    before = model(audio, attention_mask=padded).logits
    save_graph(export_logits(model, loaded.modules, shortest=400), tmp_path / "fp32.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "fp32.onnx").graph.node}
    assert "Softmax" in kinds
    assert not kinds & {"Where", "Expand", "GreaterOrEqual"}
    assert torch.equal(model(audio, attention_mask=padded).logits, before)
    unmasked = torch.from_numpy(logits_of(torch_network(model), audio.numpy()))
    assert not torch.allclose(before, unmasked, atol=1e-3), "padding counts"
    network = ov.Core().read_model(tmp_path / "fp32.onnx")
    assert turned(network) == model.config.num_hidden_layers
    fold_key_transpose(network)
    assert turned(network) == 0


def growing(axis: int, turned_values: bool) -> ov.Model:
    """A step of attention over keys and values that a memory keeps; the softmax is over ``axis`` of the scores."""
    rows, queries = ops.parameter([-1], np.int32), ops.parameter([-1, HEADS, -1, FEATURES], np.float32)
    grown, inputs, sinks = [], [rows, queries], []
    for name, turned in (("keys", False), ("values", turned_values)):
        sizes = (FEATURES, 0) if turned else (0, FEATURES)
        new = ops.parameter([-1, HEADS, *(size or -1 for size in sizes)], np.float32)
        none = ops.constant(np.zeros((1, HEADS, *sizes), dtype=np.float32))
        state = ops.read_value(none, name, ov.Type.f32, new.output(0).get_partial_shape())
        grown.append(ops.concat([ops.gather(state, rows, ops.constant(np.int64(0))), new], 3 if turned else 2))
        inputs.append(new)
        sinks.append(ops.assign(grown[-1], name))
    weights = ops.softmax(ops.matmul(queries, grown[0], False, True), axis)
    return ov.Model([ops.result(ops.matmul(weights, grown[1], False, turned_values))], sinks, inputs, "growing")


@pytest.mark.parametrize(
    ("axis", "turned_values", "fused"), [(-1, False, True), (3, False, True), (2, False, False), (3, True, False)]
)
def test_only_what_the_operation_computes_becomes_one(axis, turned_values, fused):
    model = growing(axis, turned_values)
    fuse_growing_attention(model)
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert ("ScaledDotProductAttention" in kinds) == fused
    assert ("Softmax" in kinds) != fused
    assert model.has_rt_info(["runtime_options", "KV_CACHE_PRECISION"]) == fused
