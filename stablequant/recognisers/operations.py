"""The torch modules that are quantized: Linear and Conv1d."""

import torch
from torch import nn

from stablequant.recognisers.modules import QuantizedModule

Operation = nn.Linear | nn.Conv1d


class CausalConv1d(nn.Conv1d):
    """A convolution that pads its input with zeros before the first frame only: no output hears what comes later."""

    @classmethod
    def of(cls, convolution: nn.Conv1d) -> "CausalConv1d":
        """The same as ``convolution``, which pads nothing, with the same parameters."""
        kernel, stride = convolution.kernel_size[0], convolution.stride[0]
        biased = convolution.bias is not None
        channels = convolution.in_channels, convolution.out_channels
        found = cls(*channels, kernel, stride, groups=convolution.groups, bias=biased, device="meta")
        found.weight, found.bias = convolution.weight, convolution.bias
        return found

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` ``(..., channels, frames)`` convolved, with as many frames if the stride is 1."""
        return super().forward(nn.functional.pad(values, padding_of(self)))


def operation_of(model: nn.Module, module: QuantizedModule) -> Operation:
    """The Linear or Conv1d in ``model`` that ``module`` names; raise TypeError if it is of another type."""
    found = model.get_submodule(module.module)
    if not isinstance(found, Operation):
        raise TypeError(f"{module.module} is a {type(found).__name__}, not a Linear or Conv1d")
    return found


def channel_axis(operation: Operation) -> int:
    """The axis of the channels in the input of one utterance.

    It is 0 for a Conv1d, whose input is ``(channels, frames)``, and 1 for a Linear, with ``(frames, channels)``.
    """
    return 0 if isinstance(operation, nn.Conv1d) else 1


def groups_of(operation: Operation) -> int:
    """Number of channel groups of a convolution; 1 for a Linear."""
    return operation.groups if isinstance(operation, nn.Conv1d) else 1


def padding_of(operation: nn.Conv1d) -> tuple[int, int]:
    """Number of zeros before and after the input of a convolution."""
    if isinstance(operation, CausalConv1d):
        return operation.kernel_size[0] - 1, 0
    if operation.padding == "same":
        total = operation.dilation[0] * (operation.kernel_size[0] - 1)
        return total // 2, total - total // 2
    zeros = 0 if operation.padding == "valid" else int(operation.padding[0])
    return zeros, zeros


def is_padded(operation: Operation) -> bool:
    """Whether the operation pads its input with zeros."""
    return isinstance(operation, nn.Conv1d) and any(padding_of(operation))


def reads_audio(operation: Operation) -> bool:
    """Whether the input is the audio itself. No other input has a single channel."""
    return isinstance(operation, nn.Conv1d) and operation.in_channels == 1
