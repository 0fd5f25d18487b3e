"""Weights and factors of operations whose input is divided by channel scales."""

import numpy as np
import torch

from stablequant.quantization.channel_scales import equalised_weight
from stablequant.recognisers.operations import Operation, channel_axis, groups_of


def weight_of(operation: Operation, scales: np.ndarray | None) -> np.ndarray:
    """The weight for an input that was divided by ``scales`` ``(channels,)``; unchanged if ``scales`` is None."""
    weight = operation.weight.data.cpu().numpy()
    return weight if scales is None else equalised_weight(weight, scales, groups_of(operation))


def reciprocal(operation: Operation, scales: np.ndarray | None) -> torch.Tensor | None:
    """1 / ``scales`` ``(channels,)`` in a shape that multiplies the operation's input; None if ``scales`` is None."""
    if scales is None:
        return None
    factor = torch.from_numpy(1 / scales).to(operation.weight.device)
    return factor[:, None] if channel_axis(operation) == 0 else factor
