"""The modules of a recogniser that can be quantized, and the layers they form."""

from collections.abc import Container
from dataclasses import dataclass

LAYER = "[a-z]+[0-9]*"  # what a layer's name is, as a regular expression: it becomes a part of file names


@dataclass(frozen=True)
class QuantizedModule:
    """A Linear or Conv1d that can be quantized.

    Attributes
    ----------
    layer: name of its layer, such as ``transformer03``, see `LAYER`; a layer is probed and searched as a whole
    kind: kind of the layer, such as ``transformer``
    module: dotted path in the torch model; also the name of its node in the exported graph
    activation: name of its input, ``layer`` or ``layer.tensor``; modules that read the same tensor have the same name
    output_activation: name of its output, ``layer.tensor``, if this may be quantized too, because a product of
        activations reads it; empty otherwise
    """

    layer: str
    kind: str
    module: str
    activation: str
    output_activation: str = ""

    def tensors(self, quantized: Container[str]) -> tuple[str, ...]:
        """Name of the input, and that of the output if it is among the names ``quantized``."""
        output = self.output_activation
        return (self.activation, output) if output in quantized else (self.activation,)


def layer_of_activation(activation: str) -> str:
    """The layer an activation belongs to: ``transformer03.fc1`` -> ``transformer03``."""
    return activation.split(".")[0]
