"""Operations whose input was divided compute what they did."""

import numpy as np
import pytest
import torch
from distributions import noise

from stablequant.quantization.equalised import reciprocal, weight_of

OPERATIONS = {
    "linear": torch.nn.Linear(12, 8),
    "convolution": torch.nn.Conv1d(12, 8, 3),
    "grouped convolution": torch.nn.Conv1d(12, 8, 3, groups=4, padding=1),
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_divided_channels_and_multiplied_weights_compute_the_same(kind):
    operation = OPERATIONS[kind].requires_grad_(False)
    shape = (2, 12, 20) if kind != "linear" else (2, 20, 12)
    values = torch.from_numpy(noise(*shape)).float()
    scales = np.random.default_rng(1).uniform(0.1, 10, 12).astype(np.float32)
    expected, before = operation(values), operation.weight.clone()
    factor = reciprocal(operation, scales)
    assert factor.flatten().numpy() == pytest.approx(1 / scales)
    operation.weight.data = torch.from_numpy(weight_of(operation, scales))
    assert torch.allclose(operation(values * factor), expected, atol=1e-5)
    operation.weight.data = before


@pytest.mark.parametrize("kind", OPERATIONS)
def test_without_scales_nothing_changes(kind):
    operation = OPERATIONS[kind]
    assert reciprocal(operation, None) is None
    assert np.array_equal(weight_of(operation, None), operation.weight.detach().numpy())
