"""The quantized modules of a torch model."""

from torch import nn

from stablequant.recognisers.family import QuantizedModule

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
    """Whether the input is the audio itself, the only input with a single channel."""
    return isinstance(operation, nn.Conv1d) and operation.in_channels == 1
