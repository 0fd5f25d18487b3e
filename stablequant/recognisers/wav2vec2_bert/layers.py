"""Layers of a Wav2Vec2-BERT recogniser, and the modules in each layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypedDict

from stablequant.recognisers.ctc.conformer import conformer_parts
from stablequant.recognisers.modules import QuantizedModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KIND = "wav2vec2-bert"  # model_type in config.json
ROOT = "wav2vec2_bert"  # the encoder's attribute in the CTC model
ADAPTER = {  # module -> the tensor it reads
    "residual_conv": "residual_conv",
    "self_attn_conv": "attention_conv",
    "self_attn.linear_q": "qkv",
    "self_attn.linear_k": "qkv",
    "self_attn.linear_v": "qkv",
    "self_attn.linear_out": "out",
    "ffn.intermediate_dense": "fc1",
    "ffn.output_dense": "fc2",
}
INTERMEDIATE = {"intermediate_dense": "fc1", "output_dense": "fc2"}


class ModelConfig(TypedDict):
    """What this family reads of config.json.

    Attributes
    ----------
    feature_projection_input_dim: width of the features: mel bins times the frames that are stacked
    position_embeddings_type: ``relative_key``, ``relative``, ``rotary`` or None
    add_adapter: whether ``num_adapter_layers`` layers with strided convolutions follow the encoder
    use_intermediate_ffn_before_adapter: whether a feed-forward block stands before them
    """

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    feature_projection_input_dim: int
    position_embeddings_type: str | None
    add_adapter: bool
    num_adapter_layers: int
    adapter_kernel_size: int
    adapter_stride: int
    output_hidden_size: int
    use_intermediate_ffn_before_adapter: bool


def config_of(model: PreTrainedModel) -> ModelConfig:
    """The complete configuration of ``model``."""
    settings: Any = model.config
    config: ModelConfig = settings.to_dict()
    return config


def adapter_layers(config: ModelConfig) -> int:
    """Number of adapter layers after the encoder."""
    return config["num_adapter_layers"] if config["add_adapter"] else 0


def layer_names_of(config: ModelConfig) -> list[str]:
    """Names of all layers in the order in which the audio passes through them."""
    return [
        "projection",
        *(f"transformer{i:02d}" for i in range(1, config["num_hidden_layers"] + 1)),
        *(["intermediate"] if config["use_intermediate_ffn_before_adapter"] else []),
        *(f"adapter{i:02d}" for i in range(1, adapter_layers(config) + 1)),
        "head",
    ]


def quantized_modules(config: ModelConfig) -> list[QuantizedModule]:
    """Every Linear and Conv1d between the features and the CTC posteriors, in this order."""
    return [
        QuantizedModule(layer, kind, path, activation)
        for layer in layer_names_of(config)
        for kind in [layer.rstrip("0123456789")]
        for path, activation in _parts(config, kind, layer)
    ]


def _parts(config: ModelConfig, kind: str, layer: str) -> Iterator[tuple[str, str]]:
    """Path and activation of each module in a layer."""
    index = int(layer.removeprefix(kind) or 0) - 1
    if kind == "projection":
        yield f"{ROOT}.feature_projection.projection", layer
    elif kind == "transformer":
        for part, tensor in conformer_parts(config["position_embeddings_type"]).items():
            yield f"{ROOT}.encoder.layers.{index}.{part}", f"{layer}.{tensor}"
    elif kind == "intermediate":
        for part, tensor in INTERMEDIATE.items():
            yield f"{ROOT}.intermediate_ffn.{part}", f"{layer}.{tensor}"
    elif kind == "adapter":
        if index == 0 and config["output_hidden_size"] != config["hidden_size"]:
            yield f"{ROOT}.adapter.proj", f"{layer}.proj"
        for part, tensor in ADAPTER.items():
            yield f"{ROOT}.adapter.layers.{index}.{part}", f"{layer}.{tensor}"
    else:
        yield "lm_head", layer
