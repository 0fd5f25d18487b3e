"""Every supported architecture through export, Q/DQ insertion and the engines, judged by what they compute."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ARCHITECTURES, Recogniser, write_tiny_checkpoint

from stablequant import graph
from stablequant.checkpoint import import_checkpoint
from stablequant.collection import collecting
from stablequant.engines import openvino, tensorrt_rtx
from stablequant.export import export_onnx
from stablequant.fakequant import fake_quantized
from stablequant.files import graph_bytes
from stablequant.qdq import insert_qdq
from stablequant.quantization import scale_of
from stablequant.recogniser import load_recogniser, torch_infer

LENGTHS = ((1, 400), (1, 720), (3, 16_123), (2, 50_000))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def exported(request, tmp_path_factory) -> tuple[Recogniser, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    write_tiny_checkpoint(folder / "source", request.param)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    recogniser = Recogniser.load(folder / "checkpoint")
    export_onnx(recogniser.model, recogniser.modules, folder / "fp32.onnx")
    return Recogniser.load(folder / "checkpoint"), folder / "fp32.onnx"


def audio(batch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((batch, samples), dtype=np.float32)


def amax_of(recogniser: Recogniser) -> dict[str, float]:
    with collecting(recogniser.model, recogniser.modules) as collectors:
        torch_infer(recogniser.model)(audio(2, 16_000))
    return {name: collector.histogram().amax for name, collector in collectors.items()}


def quantize(recogniser: Recogniser, fp32: Path, ranges: dict[str, float]) -> Path:
    scales = {name: float(scale_of(amax)) for name, amax in ranges.items()}
    insert_qdq(fp32, recogniser.modules, scales, fp32.with_name("int8.onnx"))
    return fp32.with_name("int8.onnx")


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / expected.var()))


def test_the_graph_computes_the_model_at_every_length(exported):
    recogniser, fp32 = exported
    session = onnxruntime.InferenceSession(fp32, providers=["CPUExecutionProvider"])
    for batch, samples in LENGTHS:
        heard = audio(batch, samples)
        found = session.run(None, {"input_values": heard})[0]
        assert np.abs(found - torch_infer(recogniser.model)(heard)).max() < 1e-4, samples


def test_the_quantized_graph_and_engine_are_the_simulation(exported):
    recogniser, fp32 = exported
    ranges = amax_of(recogniser)
    int8 = quantize(recogniser, fp32, ranges)
    heard = audio(2, 16_123)
    exact = torch_infer(recogniser.model)(heard)
    with fake_quantized(recogniser.model, recogniser.modules, ranges):
        simulated = torch_infer(recogniser.model)(heard)
    effect = relative_rms(exact, simulated)
    assert effect > 0.02, "quantization changes nothing: the comparison would prove nothing"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    assert relative_rms(session.run(None, {"input_values": heard})[0], simulated) < 0.01
    folder = int8.with_suffix(".engine")
    folder.mkdir()
    openvino.build(int8, folder)
    infer, _ = openvino.load(folder, threads=2)
    # a random network amplifies every value that lies on an edge; an engine left in floating point is off by the effect
    assert relative_rms(infer(heard), simulated) < 0.8 * effect


@pytest.mark.parametrize("exported", ["wavlm", "conformer-relative"], indirect=True)
def test_a_plan_is_built(exported, tmp_path):
    recogniser, fp32 = exported
    int8 = quantize(recogniser, fp32, amax_of(recogniser))
    tensorrt_rtx.build(int8, tmp_path, ["8.6"], typical_samples=16_000, max_samples=160_000, max_batch=2)
    assert (tmp_path / "model.plan").stat().st_size > 0


def test_a_graph_too_large_for_one_file_keeps_its_weights_beside_it(tiny, tmp_path, monkeypatch):
    """HuBERT extra large's shape of things, by a lowered limit."""
    ranges = amax_of(tiny)
    paths = {}
    for name, limit in (("whole", graph.MAX_PROTOBUF_BYTES), ("divided", 1000)):
        monkeypatch.setattr(graph, "MAX_PROTOBUF_BYTES", limit)
        fp32 = tmp_path / name / "fp32.onnx"
        export_onnx(load_recogniser(tiny.folder, attention="eager"), tiny.modules, fp32)
        monkeypatch.setattr(graph, "MAX_PROTOBUF_BYTES", 1 << 30)  # INT8 fits again
        paths[name] = fp32, quantize(tiny, fp32, ranges)
    divided, whole = paths["divided"], paths["whole"]
    assert divided[0].with_name("fp32.onnx.data").is_file()
    assert divided[0].stat().st_size < whole[0].stat().st_size / 2
    assert graph_bytes(divided[0]) == pytest.approx(graph_bytes(whole[0]), rel=0.05)
    assert divided[1].read_bytes() == whole[1].read_bytes()
    assert not [t.name for t in onnx.load(divided[1], load_external_data=False).graph.initializer if t.external_data]
    heard = audio(1, 16_000)
    for path in divided:
        with torch.inference_mode():
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.run(None, {"input_values": heard})[0].shape == (1, 49, 32)
    openvino.build(divided[0], tmp_path)
    infer, _ = openvino.load(tmp_path, threads=1)
    assert np.abs(infer(heard) - torch_infer(tiny.model)(heard)).max() < 1e-4
