"""Import checkpoints of Whisper from Hugging Face folders."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Imported
from stablequant.recognisers.whisper.front_end import GENERATION, PREPROCESSOR, SPELLING, TOKENIZER, read_front_end
from stablequant.recognisers.whisper.layers import quantized_modules, read_sizes
from stablequant.recognisers.whisper.published import write_openvino_tokenizer
from stablequant.storage.files import read_json, write_json

TIED = {"proj_out.weight"}  # the embedding's weight; some checkpoints write it once, some twice


def read(source: Path, language: str | None = None) -> Imported:
    """Read the checkpoint in the folder ``source``.

    ``language`` is the language to transcribe, such as ``de``; without it, the one that ``generation_config.json``
    names, or English. Raises `StableQuantError` if the checkpoint is damaged or does not know the language.
    """
    sizes = read_sizes(source)
    for name in (GENERATION, PREPROCESSOR):
        if not (source / name).is_file():
            raise StableQuantError(source / name, "the file does not exist", "complete the checkpoint's folder")
    if (source / TOKENIZER).is_file():
        read_front_end(source, language)
    model = _model(source)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        for name in (PREPROCESSOR, SPELLING):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        generation = read_json(source / GENERATION)
        write_json(folder / GENERATION, generation | ({"language": language} if language else {}))
        _write_tokenizer(source, folder / TOKENIZER)
        write_openvino_tokenizer(folder / TOKENIZER, folder)
        read_front_end(folder)  # raises StableQuantError if the tokenizer does not fit

    return Imported(model, quantized_modules(sizes), write)


def _model(source: Path) -> WhisperForConditionalGeneration:
    silence: Callable[[], None] = disable_progress_bar
    silence()
    load: Any = WhisperForConditionalGeneration.from_pretrained  # returns two values with output_loading_info
    model: WhisperForConditionalGeneration
    try:
        model, found = load(
            source, dtype=torch.float32, output_loading_info=True, local_files_only=True, ignore_mismatched_sizes=True
        )
    except Exception as error:  # transformers has no exception class for damaged weights
        raise StableQuantError(source, f"the weights cannot be read ({error})", "take an intact checkpoint") from error
    missing = sorted(set(found["missing_keys"]) - TIED)
    if missing or found["mismatched_keys"]:
        what = missing or [str(key) for key, *_ in found["mismatched_keys"]]
        raise StableQuantError(
            source, f"weights are missing or of another size: {', '.join(what[:3])}", "take a complete checkpoint"
        )
    settings: Any = model.config
    for switch in ("return_dict", "output_attentions", "output_hidden_states"):
        setattr(settings, switch, switch == "return_dict")
    model.train(False).requires_grad_(False)
    return model


def _write_tokenizer(source: Path, file: Path) -> None:
    if (source / TOKENIZER).is_file():
        shutil.copyfile(source / TOKENIZER, file)
        return
    try:
        AutoTokenizer.from_pretrained(source, local_files_only=True).backend_tokenizer.save(str(file))
    except Exception as error:  # the library raises no exception class of its own
        raise StableQuantError(source, f"no usable tokenizer ({error})", "complete the checkpoint's folder") from error
