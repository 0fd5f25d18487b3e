"""A tiny Whisper with random weights: transformers' own classes, and a tokenizer of single bytes."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from stablequant.recognisers.family import Network
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.whisper.export_onnx import graph_modules
from stablequant.recognisers.whisper.greedy import signatures
from stablequant.recognisers.whisper.layers import read_sizes
from stablequant.recognisers.whisper.loading import load_model

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
FIRST_SPECIAL = len(BYTES)
CLASSES = FIRST_SPECIAL + len(SPECIAL)
SECONDS = 2  # of a window
POSITIONS_PER_SECOND = 50


def import_tiny_whisper(folder: Path, **settings) -> Path:
    """The checkpoint of `write_tiny_whisper` in ``folder / "source"``, and imported, whose folder is returned."""
    write_tiny_whisper(folder / "source", **settings)
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return folder / "checkpoint"


def write_tiny_whisper(
    folder: Path, multilingual: bool = True, seconds: int = SECONDS, times: bool = False, **changes
) -> None:
    """A checkpoint whose window lasts ``seconds``. Its words differ with the audio, and its texts end by themselves.

    With ``times`` its vocabulary has timestamps, and its texts have segments of several kinds.
    """
    end = FIRST_SPECIAL
    stamps = [f"<|{i / POSITIONS_PER_SECOND:.2f}|>" for i in range(seconds * POSITIONS_PER_SECOND + 1)] if times else []
    settings = {
        "vocab_size": CLASSES + len(stamps),
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
    if times:  # clear preferences
        weights["model.decoder.embed_tokens.weight"] *= 30
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
        "max_length": changes.get("max_target_positions", 24),
        "is_multilingual": multilingual,
        "no_timestamps_token_id": end + SPECIAL.index("<|notimestamps|>"),
    }
    if times:
        generation["max_initial_timestamp_index"] = 20
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
    tokenizer.add_tokens([AddedToken(stamp) for stamp in stamps])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "normalizer.json").write_text(json.dumps({"colour": "color"}))


def split_tokenizer(folder: Path) -> None:
    """Replace ``tokenizer.json`` by the files of older tokenizers: vocabulary, merges and added tokens."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in whole["model"]["merges"]))
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "WhisperTokenizer", **ends}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def torch_networks(folder: Path) -> dict[str, Network]:
    """The three networks of an imported checkpoint, as an engine has them, in torch."""
    parts, wanted = graph_modules(load_model(folder, "eager")), signatures(read_sizes(folder))

    def network(name, tensors):
        given = [torch.from_numpy(tensors[key]) for key in wanted[name].inputs]
        with torch.inference_mode():
            found = parts[name](*given) if name != "decoder_with_past" else parts[name](given[0], given[1:])
        found = [found] if isinstance(found, torch.Tensor) else found
        return {key: values.numpy() for key, values in zip(wanted[name].outputs, found, strict=True)}

    return {name: lambda tensors, name=name: network(name, tensors) for name in parts}


def tones(seconds: float, seed: int = 0) -> np.ndarray:
    """A rising, swelling tone with noise, float32."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    tone = np.sin(2 * np.pi * draw.uniform(200, 1500) * time * (1 + time / 9)) * np.sin(2 * np.pi * 1.3 * time)
    return (0.3 * tone + 0.05 * draw.normal(size=len(time))).astype(np.float32)
