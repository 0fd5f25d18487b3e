"""Layers of a recogniser of the wav2vec 2.0 family, and the modules in each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from stablequant.recognisers.ctc.conformer import conformer_parts
from stablequant.recognisers.modules import QuantizedModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# model_type in config.json -> the encoder's attribute in the CTC model
ENCODER_OF = {
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "wavlm": "wavlm",
    "data2vec-audio": "data2vec_audio",
    "wav2vec2-conformer": "wav2vec2_conformer",
    "unispeech": "unispeech",
    "unispeech-sat": "unispeech_sat",
}
TRANSFORMER = {  # module -> the tensor it reads
    "attention.q_proj": "qkv",
    "attention.k_proj": "qkv",
    "attention.v_proj": "qkv",
    "attention.out_proj": "out",
    "feed_forward.intermediate_dense": "fc1",
    "feed_forward.output_dense": "fc2",
}
ADAPTER = {"adapter_layer.linear_1": "adapter1", "adapter_layer.linear_2": "adapter2"}  # of a language, as in MMS
ADAPTED = ("hubert", "wav2vec2", "unispeech", "unispeech-sat")  # whose pre-norm layers can have adapters


class ModelConfig(TypedDict):
    """What this family reads of a Hugging Face model's configuration, ``config.json``.

    Attributes
    ----------
    conv_dim, conv_kernel, conv_stride: channels, kernel and stride of each convolution of the feature extractor
    position_embeddings_type: of a conformer: ``relative``, ``rotary`` or None
    adapter_attn_dim: width of the adapter for a language in each layer
    do_stable_layer_norm: whether norms stand before the blocks
    """

    model_type: str
    conv_dim: list[int]
    conv_kernel: list[int]
    conv_stride: list[int]
    feat_extract_norm: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    conv_pos_batch_norm: NotRequired[bool]
    num_conv_pos_embeddings: NotRequired[int]
    position_embeddings_type: NotRequired[str | None]
    adapter_attn_dim: NotRequired[int | None]
    do_stable_layer_norm: NotRequired[bool]


def config_of(model: PreTrainedModel) -> ModelConfig:
    """The complete configuration of ``model``."""
    settings: Any = model.config
    config: ModelConfig = settings.to_dict()
    return config


def layer_names(cnn: int, transformer: int, positional: bool = True) -> list[str]:
    """Names of all layers in the order in which the audio passes through them.

    ``cnn`` is the number of convolutions and ``transformer`` the number of transformer layers. ``positional`` says
    whether there is a positional convolution.
    """
    return [
        *(f"cnn{i:02d}" for i in range(1, cnn + 1)),
        "projection",
        *(["positional"] if positional else []),
        *(f"transformer{i:02d}" for i in range(1, transformer + 1)),
        "head",
    ]


def layer_names_of(config: ModelConfig) -> list[str]:
    """Names of all layers of a checkpoint with this configuration."""
    positional = config.get("model_type") != "wav2vec2-conformer"  # a conformer adds positions in its attention
    return layer_names(len(config["conv_dim"]), config["num_hidden_layers"], positional)


def quantized_modules(config: ModelConfig) -> list[QuantizedModule]:
    """Every Linear and Conv1d between the audio and the CTC posteriors, in this order.

    ``config`` is the complete configuration of a Hugging Face CTC model. The gate of WavLM's position bias, one small
    product per head, stays in floating point.
    """
    root = ENCODER_OF[config["model_type"]]
    modules = []
    for layer in layer_names_of(config):
        kind = layer.rstrip("0123456789")
        for path, activation in _parts(config, kind, layer):
            modules.append(QuantizedModule(layer, kind, path if kind == "head" else f"{root}.{path}", activation))
    return modules


def _parts(config: ModelConfig, kind: str, layer: str) -> Iterator[tuple[str, str]]:
    """Path below the encoder, and activation, of each module in a layer."""
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


def _transformer(config: ModelConfig) -> Mapping[str, str]:
    if config["model_type"] != "wav2vec2-conformer":
        adapted = config["model_type"] in ADAPTED and config.get("do_stable_layer_norm", False)
        return {**TRANSFORMER, **ADAPTER} if adapted and config.get("adapter_attn_dim") else TRANSFORMER
    return conformer_parts(config["position_embeddings_type"])
