"""Second moments of what the quantized modules read, and their weights rounded by them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from stablequant.equalisation import equalised_weight
from stablequant.inputs import measure_inputs
from stablequant.layers import QuantizedModule
from stablequant.operations import Operation, groups_of, operation_of, padding_of
from stablequant.progress import progress
from stablequant.quantization import quantize_weight
from stablequant.reference import Split
from stablequant.rounding import RoundedWeight, compensated
from stablequant.stages import Stages

COLUMNS = 256  # of a weight whose errors make up for each other; more are hardly better, and take the square in memory


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
        products = []
        for block in blocks_of(reader):
            part = columns[:, block].flatten(1, 2)
            products.append(part @ part.mT)
        before = self.blocks.setdefault(activation, [torch.zeros_like(product) for product in products])
        for total, product in zip(before, products, strict=True):
            total += product


def columns_of(operation: Operation, values: torch.Tensor) -> torch.Tensor:
    """What the weight is multiplied with, ``(groups, channels / groups, kernel, outputs' frames)``, of values
    ``(channels, frames)``."""
    if isinstance(operation, torch.nn.Linear):
        return values[None, :, None].float()
    padded = torch.nn.functional.pad(values.float(), padding_of(operation))
    columns = padded.unfold(1, operation.kernel_size[0], operation.stride[0]).movedim(2, 1)
    return columns.unflatten(0, (operation.groups, -1))


def blocks_of(operation: Operation) -> list[slice]:
    """Channels of a group whose weights are rounded together, at most `COLUMNS` columns or one channel."""
    channels = operation.weight.shape[1]
    step = max(1, COLUMNS // (operation.weight[0, 0].numel()))
    return [slice(start, start + step) for start in range(0, channels, step)]


def round_weights(
    stages: Stages,
    modules: Sequence[QuantizedModule],
    split: Split,
    channel_scales: Mapping[str, np.ndarray],
    audio_seconds: float,
) -> dict[str, RoundedWeight]:
    """INT8 weights by the module's name, for activations divided by their ``channel_scales``.

    Their scales are those of `quantize_weight`. What they are multiplied with is measured in fp32 on ``audio_seconds``
    of the split, see `Split.sample`.
    """
    moments = Moments({m.activation: operation_of(stages.model, m) for m in modules})
    measure_inputs(stages, modules, split, split.sample(audio_seconds), moments)
    rounded = {}
    for module in progress(modules, label="weights"):
        operation = operation_of(stages.model, module)
        weight = operation.weight.data.cpu().numpy()
        scales = channel_scales.get(module.activation)
        if scales is not None:
            weight = equalised_weight(weight, scales, groups_of(operation))
        rounded[module.module] = _rounded(operation, weight, scales, moments.blocks[module.activation])
    return rounded


def _rounded(
    operation: Operation, weight: np.ndarray, channel_scales: np.ndarray | None, moments: Sequence[torch.Tensor]
) -> RoundedWeight:
    """``weight`` as equalised, by ``moments`` of the activation as it is."""
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
