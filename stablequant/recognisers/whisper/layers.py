"""Layers of Whisper, and the modules in each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from stablequant.errors import StableQuantError
from stablequant.recognisers.entries import size_of
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.sources import read_config

SELF_ATTENTION = {
    "self_attn.q_proj": "qkv",
    "self_attn.k_proj": "qkv",
    "self_attn.v_proj": "qkv",
    "self_attn.out_proj": "out",
}
CROSS_ATTENTION = {
    "encoder_attn.q_proj": "cross_q",
    "encoder_attn.k_proj": "cross_kv",
    "encoder_attn.v_proj": "cross_kv",
    "encoder_attn.out_proj": "cross_out",
}
FEED_FORWARD = {"fc1": "fc1", "fc2": "fc2"}
SCORES = {"self_attn.q_proj": "queries", "self_attn.k_proj": "keys"}  # outputs that are multiplied by each other


class ModelConfig(TypedDict):
    """What is read of ``config.json``.

    Attributes
    ----------
    max_source_positions: frames that the encoder gives for a window
    max_target_positions: tokens of a text, its beginning included
    """

    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    max_source_positions: int
    max_target_positions: int
    num_mel_bins: int
    vocab_size: int


def read_sizes(folder: Path) -> ModelConfig:
    """The sizes in ``config.json`` of ``folder``; raise `StableQuantError` if one is missing or impossible."""
    config = read_config(folder)
    found = {key: size_of(config, key, folder / "config.json") for key in ModelConfig.__annotations__}
    for heads in ("encoder_attention_heads", "decoder_attention_heads"):
        if found["d_model"] % found[heads]:
            raise StableQuantError(
                folder / "config.json", f"'d_model' is not a multiple of '{heads}'", "restore the file"
            )
    return cast(ModelConfig, found)  # its keys are those of the class


def layer_names(encoder: int, decoder: int) -> list[str]:
    """Names of all layers in the order in which the audio passes through them."""
    return [
        "conv1",
        "conv2",
        *(f"encoder{i:02d}" for i in range(1, encoder + 1)),
        *(f"decoder{i:02d}" for i in range(1, decoder + 1)),
        "head",
    ]


def quantized_modules(config: ModelConfig) -> Sequence[QuantizedModule]:
    """Every Linear and Conv1d between the log-mel features and the tokens, in this order."""
    modules = [QuantizedModule(name, "conv", f"model.encoder.{name}", name) for name in ("conv1", "conv2")]
    sides: list[tuple[str, int, Mapping[str, str], Mapping[str, str]]] = [
        ("encoder", config["encoder_layers"], SELF_ATTENTION | FEED_FORWARD, SCORES),
        ("decoder", config["decoder_layers"], SELF_ATTENTION | CROSS_ATTENTION | FEED_FORWARD, {}),
    ]
    for side, count, parts, multiplied in sides:
        for i in range(count):
            layer = f"{side}{i + 1:02d}"
            outputs = {part: f"{layer}.{tensor}" for part, tensor in multiplied.items()}
            modules += [
                QuantizedModule(
                    layer, side, f"model.{side}.layers.{i}.{part}", f"{layer}.{tensor}", outputs.get(part, "")
                )
                for part, tensor in parts.items()
            ]
    return [*modules, QuantizedModule("head", "head", "proj_out", "head")]
