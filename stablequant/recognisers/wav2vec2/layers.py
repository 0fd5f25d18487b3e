"""Layers of a wav2vec 2.0 kind of recogniser: what is quantized together, and the names of all modules in it."""

from collections.abc import Iterator, Mapping
from typing import Any

from stablequant.recognisers.family import QuantizedModule

# model_type in config.json -> the encoder's attribute in the CTC model
ENCODER_OF = {
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "data2vec-audio": "data2vec_audio",
    "wav2vec2-conformer": "wav2vec2_conformer",
}
TRANSFORMER = {  # module -> the tensor it reads
    "attention.q_proj": "qkv",
    "attention.k_proj": "qkv",
    "attention.v_proj": "qkv",
    "attention.out_proj": "out",
    "feed_forward.intermediate_dense": "fc1",
    "feed_forward.output_dense": "fc2",
}
CONFORMER = {
    "ffn1.intermediate_dense": "ffn1_fc1",
    "ffn1.output_dense": "ffn1_fc2",
    "self_attn.linear_q": "qk",
    "self_attn.linear_k": "qk",
    "self_attn.linear_v": "v",
    "self_attn.linear_out": "out",
    "conv_module.pointwise_conv1": "pointwise1",
    "conv_module.depthwise_conv": "depthwise",
    "conv_module.pointwise_conv2": "pointwise2",
    "ffn2.intermediate_dense": "ffn2_fc1",
    "ffn2.output_dense": "ffn2_fc2",
}


def layer_names(cnn: int, transformer: int, positional: bool = True) -> list[str]:
    """Names of all layers in the order in which audio passes them."""
    return [
        *(f"cnn{i:02d}" for i in range(1, cnn + 1)),
        "projection",
        *(["positional"] if positional else []),
        *(f"transformer{i:02d}" for i in range(1, transformer + 1)),
        "head",
    ]


def layer_names_of(config: Mapping[str, Any]) -> list[str]:
    """Names of all layers of the checkpoint whose ``config.json`` is ``config``."""
    positional = config.get("model_type") != "wav2vec2-conformer"  # positions enter a conformer's attention instead
    return layer_names(len(config["conv_dim"]), config["num_hidden_layers"], positional)


def quantized_modules(config: Mapping[str, Any]) -> list[QuantizedModule]:
    """Every Linear and Conv1d on the path from the audio to the CTC posteriors, in that order.

    ``config`` is the complete configuration of a Hugging Face CTC model. WavLM's gate of the position bias, one small
    product per head, stays in floating point.
    """
    root = ENCODER_OF[config["model_type"]]
    modules = []
    for layer in layer_names_of(config):
        kind = layer.rstrip("0123456789")
        for path, activation in _parts(config, kind, layer):
            modules.append(QuantizedModule(layer, kind, path if kind == "head" else f"{root}.{path}", activation))
    return modules


def _parts(config: Mapping[str, Any], kind: str, layer: str) -> Iterator[tuple[str, str]]:
    """Path below the encoder and activation of each module of a layer."""
    index = int(layer.removeprefix(kind) or 0) - 1
    if kind == "cnn":
        yield f"feature_extractor.conv_layers.{index}.conv", layer
    elif kind == "projection":
        yield "feature_projection.projection", layer
    elif kind == "positional" and config["model_type"] == "data2vec-audio":
        for i in range(config["num_conv_pos_embeddings"]):
            yield f"encoder.pos_conv_embed.layers.{i}.conv", f"{layer}.conv{i + 1}"
    elif kind == "positional":
        yield "encoder.pos_conv_embed.conv", layer
    elif kind == "transformer":
        for part, tensor in _transformer(config).items():
            yield f"encoder.layers.{index}.{part}", f"{layer}.{tensor}"
    else:
        yield "lm_head", layer


def _transformer(config: Mapping[str, Any]) -> dict[str, str]:
    if config["model_type"] != "wav2vec2-conformer":
        return TRANSFORMER
    positions = config["position_embeddings_type"]
    if positions == "rotary":  # queries and keys are rotated, values are not
        return CONFORMER
    one = {part: "qkv" if tensor in ("qk", "v") else tensor for part, tensor in CONFORMER.items()}
    return {**one, "self_attn.linear_pos": "pos"} if positions == "relative" else one
