"""The quantized modules of a torch model."""

from torch import nn

from stablequant.layers import QuantizedModule

Operation = nn.Linear | nn.Conv1d


def operation_of(model: nn.Module, module: QuantizedModule) -> Operation:
    """The Linear or Conv1d that ``module`` names."""
    found = model.get_submodule(module.module)
    if not isinstance(found, Operation):
        raise TypeError(f"{module.module} is a {type(found).__name__}, not a Linear or Conv1d")
    return found
