"""Checkpoints in fairseq's layout, written without fairseq from a Hugging Face model."""

import re
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from wav2vec2_files import tiny_model

TOKENS = list("|ETAONIHSRDLUMWCFGYPBVK'XJQZ")
NAMES = [
    (r"^(hubert|wav2vec2)\.", "w2v_encoder.w2v_model."),
    (r"^lm_head\.", "w2v_encoder.proj."),
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"feature_projection\.layer_norm\.", "layer_norm."),
    (r"feature_projection\.projection\.", "post_extract_proj."),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.", "pos_conv.0."),
    (r"\.attention\.", ".self_attn."),
    (r"(layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"feed_forward\.intermediate_dense\.", "fc1."),
    (r"feed_forward\.output_dense\.", "fc2."),
]


def fairseq_state(architecture: str = "hubert", **changes: Any) -> dict[str, Any]:
    """A fine-tuned checkpoint of `tiny_model`, with ``args`` as a dict and no dictionary."""
    model = tiny_model(architecture, **changes)
    layer = model.config.feat_extract_norm == "layer"
    norms = r"feature_extractor.conv_layers.\1.2.1." if layer else r"feature_extractor.conv_layers.\1.2."
    weights = {}
    for name, tensor in model.state_dict().items():
        for pattern, new in [(r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", norms), *NAMES]:
            name = re.sub(pattern, new, name)
        weights[name] = tensor.clone()
    encoder = {
        "arch": "wav2vec2" if architecture == "wav2vec2" else "hubert",
        "extractor_mode": "layer_norm" if layer else "default",
        "layer_norm_first": model.config.do_stable_layer_norm,
        "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
        "encoder_attention_heads": model.config.num_attention_heads,
        "conv_pos": model.config.num_conv_pos_embeddings,
        "conv_pos_groups": model.config.num_conv_pos_embedding_groups,
    }
    settings = {
        "arch": "wav2vec_ctc" if architecture == "wav2vec2" else "hubert_ctc",
        "labels": "ltr",
        "normalize": layer,
        "w2v_args": Namespace(**encoder),
    }
    return {"args": settings, "model": weights, "optimizer_history": [], "extra_state": {"epoch": 3}}


def save(state: dict[str, Any], file: Path, zipped: bool = True) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = {**state, "args": Namespace(**state["args"])} if isinstance(state.get("args"), dict) else state
    torch.save(written, file, _use_new_zipfile_serialization=zipped)
    return file


def write_dictionary(file: Path, tokens: list[str] = TOKENS) -> None:
    file.write_text("".join(f"{token} {100 - i}\n" for i, token in enumerate(tokens)))


def named_class(path: str) -> type:
    """A class that pickles under ``path``; it stays importable for as long as the process lives."""
    module, _, name = path.rpartition(".")
    for depth in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:depth])
        sys.modules.setdefault(part, ModuleType(part))
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made
