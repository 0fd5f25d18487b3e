"""Weights rounded to INT8 one column after the other, each making up for what rounding those before it has changed.

Rounding each weight to the nearest level gives the least error in weights, not in outputs. Here the squared error of
the outputs over calibration audio is kept low, as in GPTQ (Frantar et al., ICLR 2023). Neighbouring samples of sound are
much alike, and so are the features made of them, so that errors of weights that read them can cancel out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from stablequant.quantization.int8 import QMAX, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.scaled import weight_of
from stablequant.recognisers.operations import Operation, groups_of, padding_of

COLUMNS = 256  # of a weight whose errors make up for each other; more are hardly better, and take the square in memory
DAMPING = 0.01  # of the columns' mean moment, added to each: quiet ones must not carry what the others lack
FRAMES = 2**14  # of a block that are laid out at once


class Moments:
    """Second moments of the columns that weights are multiplied with, in blocks of channels, by activation.

    ``readers`` are an operation of each activation. A block's moments are float32 ``(groups, columns, columns)``, where
    a column is one channel at one place of the kernel.
    """

    def __init__(self, readers: Mapping[str, Operation]) -> None:
        self.blocks: dict[str, list[torch.Tensor]] = {}
        self._readers = readers

    def add(self, activation: str, values: torch.Tensor) -> None:
        """Take values ``(channels, frames)``."""
        reader = self._readers[activation]
        columns = columns_of(reader, values)
        blocks = [columns[:, block] for block in blocks_of(reader)]
        if activation not in self.blocks:
            sizes = [block.shape[1] * block.shape[2] for block in blocks]
            self.blocks[activation] = [values.new_zeros(len(columns), n, n, dtype=torch.float32) for n in sizes]
        for total, block in zip(self.blocks[activation], blocks, strict=True):
            for part in block.split(FRAMES, dim=-1):
                total += part.flatten(1, 2) @ part.flatten(1, 2).mT


def columns_of(operation: Operation, values: torch.Tensor) -> torch.Tensor:
    """What the weight is multiplied with, ``(groups, channels / groups, kernel, outputs' frames)``, of values
    ``(channels, frames)``."""
    if isinstance(operation, torch.nn.Linear):
        return values[None, :, None].float()
    if operation.dilation != (1,):
        raise ValueError(f"a convolution with dilation {operation.dilation}; set rounding: {{enabled: false}}")
    padding = padding_of(operation)
    padded = torch.nn.functional.pad(values, padding) if any(padding) else values
    columns = padded.float().unfold(1, operation.kernel_size[0], operation.stride[0]).movedim(2, 1)
    return columns.unflatten(0, (operation.groups, -1))


def blocks_of(operation: Operation) -> list[slice]:
    """Channels of a group whose weights are rounded together, at most `COLUMNS` columns or one channel."""
    channels = operation.weight.shape[1]
    step = max(1, COLUMNS // (operation.weight[0, 0].numel()))
    return [slice(start, start + step) for start in range(0, channels, step)]


def compensated(values: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Levels, whole numbers from -127 to 127, for weights ``values`` ``(..., outputs, columns)`` in units of a level.

    ``moments`` ``(..., columns, columns)`` are the second moments of what the columns are multiplied with, in any unit.
    Both are float64; dimensions before are problems of their own. The largest moments come first, while there are many
    columns left to make up for them.
    """
    own = moments.diagonal(dim1=-2, dim2=-1)
    order = own.argsort(dim=-1, descending=True)
    damping = DAMPING * own.mean(dim=-1, keepdim=True)
    damped = moments + torch.diag_embed(torch.where(damping > 0, damping, 1.0).expand_as(own))  # 1 where all are dead
    damped = damped.take_along_dim(order[..., None], -2).take_along_dim(order[..., None, :], -1)
    shares = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    left = values.take_along_dim(order[..., None, :], -1)
    for column in range(values.shape[-1]):
        rounded = left[..., column].round().clamp(-QMAX, QMAX)
        error = (left[..., column] - rounded) / shares[..., column, column, None]
        left[..., column + 1 :] -= error[..., None] * shares[..., None, column, column + 1 :]
        left[..., column] = rounded
    return left.take_along_dim(order.argsort(dim=-1)[..., None, :], -1)


def round_weight(
    operation: Operation, channel_scales: np.ndarray | None, moments: Sequence[torch.Tensor]
) -> RoundedWeight:
    """The weight as equalised, by ``moments`` of the activation as it is."""
    weight = weight_of(operation, channel_scales)
    _, scales = quantize_weight(weight)
    groups = groups_of(operation)
    grouped = (groups, len(weight) // groups, weight.shape[1], -1)
    device = operation.weight.device
    values = torch.from_numpy(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).to(device, torch.float64)
    values = values.reshape(grouped)
    divided = np.ones(groups * weight.shape[1]) if channel_scales is None else channel_scales
    factors = torch.from_numpy(1 / divided).to(device, torch.float64).reshape(groups, -1, 1)
    levels = torch.empty_like(values)
    for block, products in zip(blocks_of(operation), moments, strict=True):
        own = factors[:, block].expand(-1, -1, values.shape[-1]).flatten(1)
        part = compensated(values[:, :, block].flatten(2), products.double() * own[:, :, None] * own[:, None, :])
        levels[:, :, block] = part.unflatten(2, (-1, values.shape[-1]))
    return levels.reshape(weight.shape).to(torch.int8).cpu().numpy(), scales
