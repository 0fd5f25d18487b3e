"""Round weights to INT8 so that their errors cancel in the outputs, as in GPTQ (Frantar et al., ICLR 2023).

Rounding each weight to the nearest level gives the smallest error of the weights, but not of the outputs. Here columns
of a weight are rounded one after the other. After each column, the columns that are not rounded yet are changed to
reduce the squared error of the outputs over calibration audio. This works because neighbouring samples of audio are
similar, and so are the features computed from them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from stablequant.quantization.equalised import weight_of
from stablequant.quantization.int8 import QMAX, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.recognisers.operations import Operation, groups_of, padding_of

COLUMNS = 256  # columns that compensate each other's errors; more are hardly better, and memory grows with the square
DAMPING = 0.01  # this fraction of the mean moment is added to each moment, so that quiet columns do not change too much
FRAMES = 2**14  # frames of a block that are processed at once, to limit memory


class Moments:
    """Second moments of the inputs of weights, by activation name, in blocks of channels.

    ``readers`` maps each activation to one operation that reads it. The moments of a block are float32
    ``(groups, columns, columns)``. A column is one channel at one position of the kernel.
    """

    def __init__(self, readers: Mapping[str, Operation]) -> None:
        self.blocks: dict[str, list[torch.Tensor]] = {}
        self._readers = readers

    def add(self, activation: str, values: torch.Tensor) -> None:
        """Add the moments of ``values`` ``(channels, frames)``."""
        reader = self._readers[activation]
        columns = columns_of(reader, values)
        blocks = [columns[:, block] for block in blocks_of(reader)]
        if activation not in self.blocks:
            sizes = [block.shape[1] * block.shape[2] for block in blocks]
            self.blocks[activation] = [values.new_zeros(len(columns), n, n, dtype=torch.float32) for n in sizes]
        for total, block in zip(self.blocks[activation], blocks, strict=True):
            for part in torch.split(block, FRAMES, dim=-1):
                total += part.flatten(1, 2) @ part.flatten(1, 2).mT


def columns_of(operation: Operation, values: torch.Tensor) -> torch.Tensor:
    """Inputs of the weight, ``(groups, channels / groups, kernel, output frames)``.

    ``values`` ``(channels, frames)`` are the input of the operation. Raises ValueError for a convolution with dilation.
    """
    if isinstance(operation, torch.nn.Linear):
        return values[None, :, None].float()
    if operation.dilation != (1,):
        raise ValueError(f"a convolution with dilation {operation.dilation}; set rounding: {{enabled: false}}")
    padding = padding_of(operation)
    padded = torch.nn.functional.pad(values, padding) if any(padding) else values
    columns = padded.float().unfold(1, operation.kernel_size[0], operation.stride[0]).movedim(2, 1)
    return torch.unflatten(columns, 0, (operation.groups, -1))


def blocks_of(operation: Operation) -> list[slice]:
    """Blocks of a group's channels. A block has at most `COLUMNS` columns, or one channel if it has more."""
    channels = operation.weight.shape[1]
    step = max(1, COLUMNS // (operation.weight[0, 0].numel()))
    return [slice(start, start + step) for start in range(0, channels, step)]


def compensated(values: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Round weights: integers from -127 to 127, float64 ``(..., outputs, columns)``.

    ``values``, float64 of the same shape, are the weights in units of a level. ``moments``, float64
    ``(..., columns, columns)``, are the second moments of the inputs, in any unit. The leading dimensions are
    independent problems. The columns with the largest moments come first, because many columns are then left to
    compensate their errors.
    """
    own = moments.diagonal(dim1=-2, dim2=-1)
    order = own.argsort(dim=-1, descending=True)
    damping = DAMPING * own.mean(dim=-1, keepdim=True)
    damped = moments + torch.diag_embed(torch.where(damping > 0, damping, 1.0).expand_as(own))  # 1 if all are zero
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
    """INT8 weight of ``operation``, for an input that was divided by ``channel_scales`` ``(channels,)``.

    ``moments`` are those of the input before the division, one tensor per block, see `Moments`.
    """
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
        levels[:, :, block] = torch.unflatten(part, 2, (-1, values.shape[-1]))
    return levels.reshape(weight.shape).to(torch.int8).cpu().numpy(), scales
