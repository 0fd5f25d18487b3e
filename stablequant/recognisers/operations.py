"""The quantized modules of a torch model."""

import numpy as np
import torch
from torch import nn

from stablequant.quantization.channel_scales import equalised_weight
from stablequant.recognisers.wav2vec2.layers import QuantizedModule

Operation = nn.Linear | nn.Conv1d


def operation_of(model: nn.Module, module: QuantizedModule) -> Operation:
    """The Linear or Conv1d that ``module`` names."""
    found = model.get_submodule(module.module)
    if not isinstance(found, Operation):
        raise TypeError(f"{module.module} is a {type(found).__name__}, not a Linear or Conv1d")
    return found


def channel_axis(operation: Operation) -> int:
    """The axis of the channels in one utterance's input: ``(channels, frames)`` or ``(frames, channels)``."""
    return 0 if isinstance(operation, nn.Conv1d) else 1


def groups_of(operation: Operation) -> int:
    """Groups of channels that a convolution keeps apart; 1 for a Linear."""
    return operation.groups if isinstance(operation, nn.Conv1d) else 1


def weight_of(operation: Operation, scales: np.ndarray | None) -> np.ndarray:
    """The weight for an input that was divided by ``scales`` ``(channels,)``; as it is where there are none."""
    weight = operation.weight.data.cpu().numpy()
    return weight if scales is None else equalised_weight(weight, scales, groups_of(operation))


def padding_of(operation: nn.Conv1d) -> tuple[int, int]:
    """Zeros before and after the input."""
    if operation.padding == "same":
        total = operation.dilation[0] * (operation.kernel_size[0] - 1)
        return total // 2, total - total // 2
    zeros = 0 if operation.padding == "valid" else int(operation.padding[0])
    return zeros, zeros


def is_padded(operation: Operation) -> bool:
    """Whether zeros are put around the input."""
    return isinstance(operation, nn.Conv1d) and any(padding_of(operation))


def reads_audio(operation: Operation) -> bool:
    """Whether the input is the audio itself, which has one channel."""
    return isinstance(operation, nn.Conv1d) and operation.in_channels == 1


def reciprocal(operation: Operation, scales: np.ndarray | None) -> torch.Tensor | None:
    """1 / ``scales`` ``(channels,)`` in a shape that multiplies the operation's input; None where there are none."""
    if scales is None:
        return None
    factor = torch.from_numpy(1 / scales).to(operation.weight.device)
    return factor[:, None] if channel_axis(operation) == 0 else factor
