"""Write a Whisper as whisper.cpp reads it, with its matrices in q8_0: blocks of 32 INT8 numbers with one scale.

The wheel of whisper.cpp brings no converter. The layout is the one that whisper.cpp's reader documents in its source.
"""

import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from stablequant.recognisers.whisper.front_end import read_front_end
from stablequant.recognisers.whisper.layers import read_sizes
from stablequant.recognisers.whisper.mel import mel_filters

MAGIC = 0x67676D6C
BLOCK = 32
FLOAT32, FLOAT16, Q8_0 = 0, 1, 8  # kinds of tensors
MOSTLY_Q8_0 = 2007  # kind of file, with the version of its quantization
NAMES = {  # of Hugging Face -> of OpenAI, in this order
    "model.": "",
    ".layers.": ".blocks.",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "encoder_attn": "cross_attn",
    "self_attn": "attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "embed_positions.weight": "positional_embedding",
    "embed_tokens": "token_embedding",
}
SIZES = (
    *("vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers"),
    *("max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers", "num_mel_bins"),
)


def write_ggml(checkpoint: Path, file: Path) -> None:
    """Write the imported ``checkpoint`` into ``file``."""
    sizes, front_end = read_sizes(checkpoint), read_front_end(checkpoint)
    filters = mel_filters(front_end.sample_rate, front_end.bins, front_end.fft).T.astype(np.float32)
    with file.open("wb") as out:
        out.write(struct.pack(f"<{len(SIZES) + 2}i", MAGIC, *(sizes[key] for key in SIZES), MOSTLY_Q8_0))
        out.write(struct.pack("<2i", *filters.shape) + np.ascontiguousarray(filters).tobytes())
        tokens = token_bytes(front_end.tokenizer, front_end.end)
        out.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            out.write(struct.pack("<i", len(token)) + token)
        for name, values in load_file(checkpoint / "model.safetensors").items():
            if name == "proj_out.weight":
                continue
            for old, new in NAMES.items():
                name = name.replace(old, new)
            out.write(tensor(name, values.astype(np.float32)))


def tensor(name: str, values: np.ndarray) -> bytes:
    """A tensor with its header."""
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        values = values[:, None]
        kind = FLOAT32
    elif values.ndim == 3:
        kind = FLOAT16
    elif values.ndim == 2 and "positional" not in name:
        kind = Q8_0
    else:
        kind = FLOAT32
    data = {FLOAT32: values.tobytes, FLOAT16: values.astype(np.float16).tobytes, Q8_0: lambda: blocks(values)}[kind]()
    shape = struct.pack(f"<{values.ndim}i", *values.shape[::-1])
    return struct.pack("<3i", values.ndim, len(name), kind) + shape + name.encode() + data


def blocks(values: np.ndarray) -> bytes:
    """Rows in blocks of 32, each a half-precision scale and 32 INT8 numbers."""
    parts = values.reshape(-1, BLOCK)
    scales = np.abs(parts).max(axis=1, keepdims=True) / 127
    numbers = np.rint(np.divide(parts, scales, out=np.zeros_like(parts), where=scales > 0)).astype(np.int8)
    packed = np.empty(len(parts), dtype=[("scale", "<f2"), ("numbers", "i1", BLOCK)])
    packed["scale"], packed["numbers"] = scales[:, 0], numbers
    return packed.tobytes()


def token_bytes(tokenizer: Tokenizer, count: int) -> list[bytes]:
    """The bytes of the first ``count`` tokens. A tokenizer writes each byte as a character."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]  # these stand for themselves
    others = [byte for byte in range(256) if byte not in printed]
    byte_of = {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(others)}
    assert set(byte_of) == set(ByteLevel.alphabet())
    return [bytes(byte_of[character] for character in tokenizer.id_to_token(number)) for number in range(count)]
