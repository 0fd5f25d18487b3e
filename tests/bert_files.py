"""A tiny random Wav2Vec2-BERT recogniser, in the layout that transformers writes."""

import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from checkout import DEMO
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as modeling

# Published fine-tunes have 24 layers, 1024 wide, `relative_key` positions up to 64 frames back and 8 ahead, a kernel of
# 31 and one adapter layer of kernel 3 and stride 2 (config.json of hf-audio/wav2vec2-bert-CV16-en,
# alvanlii/wav2vec2-BERT-cantonese, spygaurad/wav2vec2-bert). Their extractors have 80 mel bins, stacks of two frames,
# and a padding value of 1 (facebook/w2v-bert-2.0) or 0.
VARIANTS = {
    "plain": {},
    "adapter": {"add_adapter": True},
    "rotary": {"position_embeddings_type": "rotary"},
    "relative": {"position_embeddings_type": "relative"},
    "everything": {
        "position_embeddings_type": None,
        "add_adapter": True,
        "num_adapter_layers": 2,
        "output_hidden_size": 32,
        "use_intermediate_ffn_before_adapter": True,
    },
}


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


def tiny_bert(variant: str = "plain", **changes) -> Wav2Vec2BertForCTC:
    """A random model of two layers, its norms and biases random too."""
    torch.manual_seed(0)
    settings = {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "feature_projection_input_dim": 160,
        "left_max_position_embeddings": 12,
        "right_max_position_embeddings": 3,
        "conv_depthwise_kernel_size": 7,
        "vocab_size": 32,
        "pad_token_id": 0,
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
    }
    model = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**settings | VARIANTS[variant] | changes)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            spread = 0.01 if name.startswith("lm_head") else 0.1  # else one class wins whatever is heard
            parameter.data = spread * torch.randn_like(parameter) + (1 if name.endswith("norm.weight") else 0)
    return model


def write_tiny_bert(folder: Path, variant: str = "plain", padding_value: float = 1.0, **changes) -> None:
    """`tiny_bert` with its feature extractor and the demo's vocabulary."""
    tiny_bert(variant, **changes).save_pretrained(folder)
    SeamlessM4TFeatureExtractor(padding_value=padding_value).save_pretrained(folder)
    shutil.copyfile(DEMO / "vocab.json", folder / "vocab.json")


OWN = {  # transformers' functions, which loading a recogniser replaces
    name: getattr(modeling, name)
    for name in ("_apply_relative_position_encoding", "_apply_relative_key_position_encoding")
}


def by_transformers(folder: Path, audio: list[np.ndarray]) -> list[np.ndarray]:
    """Logits of each recording alone, by transformers' own extractor and model."""
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(folder)
    model = Wav2Vec2BertForCTC.from_pretrained(folder, attn_implementation="eager").eval()
    found = []
    with torch.inference_mode(), patch.multiple(modeling, **OWN):
        for samples in audio:
            inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
            found.append(model(**inputs).logits[0].numpy())
    return found
