"""The modules of a recogniser that can be quantized, and the layers they form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QuantizedModule:
    """A Linear or Conv1d that can be quantized.

    Attributes
    ----------
    layer: name of its layer, such as ``transformer03``; a layer is probed and searched as a whole
    kind: kind of the layer, such as ``transformer``
    module: dotted path in the torch model; also the name of its node in the exported graph
    activation: name of its input, ``layer`` or ``layer.tensor``; modules that read the same tensor have the same name
    """

    layer: str
    kind: str
    module: str
    activation: str


def layer_of_activation(activation: str) -> str:
    """The layer an activation belongs to: ``transformer03.fc1`` -> ``transformer03``."""
    return activation.split(".")[0]
