"""A tiny Whisper with random weights: transformers' own classes, and a tokenizer of single bytes."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
FIRST_SPECIAL = len(BYTES)
CLASSES = FIRST_SPECIAL + len(SPECIAL)
SECONDS = 2  # of a window
POSITIONS_PER_SECOND = 50


def write_tiny_whisper(folder: Path, multilingual: bool = True, seconds: int = SECONDS, **changes) -> None:
    """A checkpoint whose window lasts ``seconds``. Its words differ with the audio, and its texts end by themselves."""
    end = FIRST_SPECIAL
    settings = {
        "vocab_size": CLASSES,
        "num_mel_bins": 80,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_source_positions": seconds * POSITIONS_PER_SECOND,
        "max_target_positions": 24,
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
        "decoder_start_token_id": end + 1,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    }
    model = WhisperForConditionalGeneration(WhisperConfig(**settings | changes)).eval()
    torch.manual_seed(2)
    weights = {name: torch.randn_like(old) * 0.02 if old.ndim > 1 else old for name, old in model.state_dict().items()}
    for name in weights:
        if "encoder_attn" in name and "v_proj" not in name and name.endswith("weight"):
            weights[name] *= 30
    weights["model.decoder.embed_positions.weight"] *= 50
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    generation = {
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "decoder_start_token_id": end + 1,
        "suppress_tokens": [3, 4, *range(end + 1, CLASSES)],
        "begin_suppress_tokens": [10, end],
        "max_length": 24,
        "is_multilingual": multilingual,
        "no_timestamps_token_id": end + SPECIAL.index("<|notimestamps|>"),
    }
    if multilingual:
        generation |= {
            "lang_to_id": {"<|en|>": end + 2, "<|de|>": end + 3},
            "task_to_id": {"translate": end + 4, "transcribe": end + 5},
            "language": "en",
            "task": "transcribe",
        }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    WhisperFeatureExtractor(chunk_length=seconds).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(BYTES)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "normalizer.json").write_text(json.dumps({"colour": "color"}))
