"""Grouped convolutions are right on every CPU, also those that OpenVINO's INT8 kernels compute wrongly."""

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops

from stablequant.engines import openvino
from stablequant.engines.openvino_quantizers import decompose_before_wrong_convolutions, grouped_convolution_is_exact
from stablequant.engines.precision import BFLOAT16, FLOAT32

FRAMES = 100
SHAPES = [(16, 12, 12, 128), (16, 12, 12, 16), (4, 12, 12, 3), (16, 48, 48, 128), (32, 1, 1, 31)]
LEVEL = np.float32(1 / 127)


def grouped(weight: np.ndarray) -> ov.Model:
    """A padded convolution by INT8 weights ``(groups, outputs, inputs, frames)`` that reads INT8 numbers."""
    groups, _, inputs, frames = weight.shape
    values = ops.parameter([1, groups * inputs, FRAMES], ov.Type.f32)
    bounds = [np.float32(-128) * LEVEL, np.float32(1)]
    quantized = ops.fake_quantize(values, *bounds, *bounds, 256)
    steps = np.full((*weight.shape[:2], 1, 1), LEVEL)
    factors = ops.multiply(ops.convert(ops.constant(weight), ov.Type.f32), ops.constant(steps))
    product = ops.group_convolution(quantized, factors, [1], [frames // 2], [frames // 2], [1])
    return ov.Model([product], [values], "grouped")


@pytest.mark.parametrize("floating", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_what_torch_computes(shape, floating):
    """With AMX and float32, OpenVINO 2026.4.1 computes the first two wrongly by more than all of their size."""
    draw = np.random.default_rng(0)
    weight = draw.integers(-127, 128, shape).astype(np.int8)
    audio = draw.integers(-127, 128, (1, shape[0] * shape[2], FRAMES)).astype(np.float32) * LEVEL
    kernels = torch.from_numpy(weight.reshape(-1, *shape[2:]).astype(np.float32)) * LEVEL
    expected = torch.nn.functional.conv1d(torch.from_numpy(audio), kernels, padding=shape[3] // 2, groups=shape[0])
    compiled, _ = openvino.compile_network(grouped(weight), 1, floating)
    found, wanted = compiled(audio)[0], expected.numpy()
    assert np.abs(found - wanted).mean() < 0.01 * np.abs(wanted).mean()


def test_a_kernel_is_tried_once():
    first = grouped_convolution_is_exact((2, 3, 4, 5))
    before = grouped_convolution_is_exact.cache_info().hits
    assert grouped_convolution_is_exact((2, 3, 4, 5)) == first
    assert grouped_convolution_is_exact.cache_info().hits == before + 1


def test_a_convolution_over_two_axes_is_left_as_it_is():
    values = ops.parameter([1, 4, 8, 8], ov.Type.f32)
    quantized = ops.fake_quantize(values, *2 * [np.float32(-1), np.float32(1)], 256)
    weight = ops.constant(np.ones((2, 2, 2, 3, 3), dtype=np.float32))
    product = ops.group_convolution(quantized, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    model = ov.Model([product], [values], "images")
    decompose_before_wrong_convolutions(model)
    assert "FakeQuantize" in [node.get_type_name() for node in model.get_ops()]
