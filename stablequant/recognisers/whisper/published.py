"""The files of a bundle of Whisper that other libraries look for.

optimum and OpenVINO GenAI open a folder by the names of its files. GenAI reads the tokenizer as two OpenVINO networks,
which openvino-tokenizers makes.
"""

import logging
from pathlib import Path

from stablequant.errors import StableQuantError

TOKENIZERS = ("openvino_tokenizer", "openvino_detokenizer")
PUBLISHED = {
    "encoder_model.onnx": "encoder.onnx",
    "decoder_model.onnx": "decoder.onnx",
    "decoder_with_past_model.onnx": "decoder_with_past.onnx",
    "openvino_encoder_model.xml": "engines/openvino/encoder.xml",
    "openvino_encoder_model.bin": "engines/openvino/encoder.bin",
    "openvino_decoder_model.xml": "engines/openvino/decoder.xml",
    "openvino_decoder_model.bin": "engines/openvino/decoder.bin",
    **{f"{name}.{end}": f"{name}.{end}" for name in TOKENIZERS for end in ("xml", "bin")},
}
MARKED = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def write_openvino_tokenizer(tokenizer: Path, folder: Path) -> None:
    """Write the ``tokenizer`` (tokenizer.json) as OpenVINO's networks into ``folder``.

    Logs a warning if openvino-tokenizers is not installed. Raises `StableQuantError` if it cannot take the tokenizer.
    """
    try:
        import openvino
        from openvino_tokenizers import convert_tokenizer
    except ImportError as missing:
        logging.warning(
            "%s: no tokenizer for OpenVINO GenAI (%s); run: pip install openvino-tokenizers", tokenizer, missing
        )
        return
    from transformers import PreTrainedTokenizerFast

    try:
        fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), **MARKED)  # type: ignore[no-untyped-call]
        networks = convert_tokenizer(fast, with_detokenizer=True)
    except Exception as error:  # the library raises no exception class of its own
        raise StableQuantError(
            tokenizer, f"OpenVINO cannot take this tokenizer ({error})", "take the checkpoint's own tokenizer.json"
        ) from error
    for name, network in zip(TOKENIZERS, networks, strict=True):
        openvino.save_model(network, folder / f"{name}.xml")
