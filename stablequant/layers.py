"""The units that are quantized together, and the names of everything that belongs to them."""

from dataclasses import dataclass

ENCODER_OF = {"hubert": "hubert", "wav2vec2": "wav2vec2"}  # model_type in config.json -> attribute of the CTC model


@dataclass(frozen=True)
class QuantizedModule:
    """One Linear or Conv1d.

    Attributes
    ----------
    layer: name of the unit that is probed and searched as a whole, ``cnn01`` ... ``head``
    kind: ``cnn``, ``projection``, ``positional``, ``transformer`` or ``head``
    module: dotted path in the Hugging Face model, which is also its node's name in the exported graph
    activation: name of the module's input; modules that read the same tensor share it
    """

    layer: str
    kind: str
    module: str
    activation: str


def layer_names(cnn: int, transformer: int) -> list[str]:
    """Names of all layers in the order in which audio passes them."""
    return [
        *(f"cnn{i:02d}" for i in range(1, cnn + 1)),
        "projection",
        "positional",
        *(f"transformer{i:02d}" for i in range(1, transformer + 1)),
        "head",
    ]


def quantized_modules(model_type: str, cnn: int, transformer: int) -> list[QuantizedModule]:
    """Every Linear and Conv1d on the path from the audio to the CTC posteriors, in that order."""
    root = ENCODER_OF[model_type]
    modules = [
        QuantizedModule(f"cnn{i + 1:02d}", "cnn", f"{root}.feature_extractor.conv_layers.{i}.conv", f"cnn{i + 1:02d}")
        for i in range(cnn)
    ]
    projection = f"{root}.feature_projection.projection"
    positional = f"{root}.encoder.pos_conv_embed.conv"
    modules.append(QuantizedModule("projection", "projection", projection, "projection"))
    modules.append(QuantizedModule("positional", "positional", positional, "positional"))
    parts = {
        "attention.q_proj": "qkv",
        "attention.k_proj": "qkv",
        "attention.v_proj": "qkv",
        "attention.out_proj": "out",
        "feed_forward.intermediate_dense": "fc1",
        "feed_forward.output_dense": "fc2",
    }
    for i in range(transformer):
        layer = f"transformer{i + 1:02d}"
        for part, tensor in parts.items():
            path = f"{root}.encoder.layers.{i}.{part}"
            modules.append(QuantizedModule(layer, "transformer", path, f"{layer}.{tensor}"))
    modules.append(QuantizedModule("head", "head", "lm_head", "head"))
    return modules


def layer_of_activation(activation: str) -> str:
    """The layer an activation belongs to: ``transformer03.fc1`` -> ``transformer03``."""
    return activation.split(".")[0]
