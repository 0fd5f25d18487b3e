"""Tiny CTC models with random weights, of all architectures of wav2vec 2.0's kind, and their checkpoints."""

import shutil
from pathlib import Path

import torch
from checkout import DEMO
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    UniSpeechConfig,
    UniSpeechForCTC,
    UniSpeechSatConfig,
    UniSpeechSatForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
)

from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.family import read_front_end

ARCHITECTURES = {
    "hubert": (HubertForCTC, HubertConfig, {}),
    "wav2vec2": (Wav2Vec2ForCTC, Wav2Vec2Config, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "mms": (
        Wav2Vec2ForCTC,
        Wav2Vec2Config,
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "adapter_attn_dim": 8},
    ),
    "wavlm": (WavLMForCTC, WavLMConfig, {}),
    "data2vec": (
        Data2VecAudioForCTC,
        Data2VecAudioConfig,
        {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    ),
    "conformer-relative": (
        Wav2Vec2ConformerForCTC,
        Wav2Vec2ConformerConfig,
        {"position_embeddings_type": "relative"},
    ),
    "conformer-rotary": (Wav2Vec2ConformerForCTC, Wav2Vec2ConformerConfig, {"position_embeddings_type": "rotary"}),
    "unispeech": (UniSpeechForCTC, UniSpeechConfig, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "unispeech-sat": (UniSpeechSatForCTC, UniSpeechSatConfig, {}),
}
FEW_LAYERS = {"conv_dim": (16,) * 3, "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8)}  # 8 instead of 12


def tiny_model(architecture: str = "hubert", **changes) -> torch.nn.Module:
    """A random CTC model with 7 convolutions and 2 transformer layers, its norms and biases random too."""
    torch.manual_seed(0)
    build, configure, own = ARCHITECTURES[architecture]
    settings = {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
        "pad_token_id": 0,
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
    }
    model = build(configure(**settings | own | changes)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            spread = 0.01 if name.startswith("lm_head") else 0.1  # else one class wins whatever is heard
            parameter.data = spread * torch.randn_like(parameter) + (1 if name.endswith("norm.weight") else 0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model


def write_tiny_checkpoint(folder: Path, architecture: str = "hubert", **changes) -> None:
    """`tiny_model` in Hugging Face layout."""
    tiny_model(architecture, **changes).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    shutil.copyfile(DEMO / "vocab.json", folder / "vocab.json")


def front_end_of(source: Path) -> FrontEnd:
    """That of the checkpoint in ``source`` after its import, which goes beside it."""
    import_checkpoint(str(source), source.with_name("imported"))
    return read_front_end(source.with_name("imported"))
