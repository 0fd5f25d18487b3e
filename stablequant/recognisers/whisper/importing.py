"""Import checkpoints of Whisper from Hugging Face folders."""

import re
import shutil
from pathlib import Path

from transformers import AutoModelForSpeechSeq2Seq, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from stablequant.errors import StableQuantError
from stablequant.recognisers.family import Imported
from stablequant.recognisers.pretrained import Kind, build_config, load_pretrained
from stablequant.recognisers.processor_files import PREPROCESSOR, processor_file, read_preprocessor
from stablequant.recognisers.sources import read_config
from stablequant.recognisers.whisper.front_end import SPELLING, TOKENIZER, read_front_end
from stablequant.recognisers.whisper.generation import GENERATION, completed, is_multilingual, read_generation
from stablequant.recognisers.whisper.layers import quantized_modules, read_sizes
from stablequant.recognisers.whisper.published import write_openvino_tokenizer
from stablequant.storage.files import write_json

WHISPER = Kind(
    AutoModelForSpeechSeq2Seq,
    ("text head", "proj_out"),
    re.compile(r"^proj_out\.weight$"),  # the embedding's weight; some checkpoints write it once, some twice
    re.compile(r"layers\.|conv[12]\.|proj_out"),
)


def read(source: Path, language: str | None = None) -> Imported:
    """Read the checkpoint in the folder ``source``.

    ``language`` is the language to transcribe, such as ``de``; without it, the one that the checkpoint names, or
    English. Raises `StableQuantError` if the checkpoint is damaged or does not know the language.
    """
    sizes = read_sizes(source)
    _, preprocessor = read_preprocessor(source)
    if processor_file(source, TOKENIZER).is_file():
        read_front_end(source, language)
    model = _model(source)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, save_original_format=False)  # by the names that wrappers did not change
        write_json(folder / PREPROCESSOR, preprocessor)
        if (spelling := processor_file(source, SPELLING)).is_file():
            shutil.copyfile(spelling, folder / SPELLING)
        generation = read_generation(source)
        write_json(folder / GENERATION, generation)
        _write_tokenizer(source, model.config, folder / TOKENIZER)
        write_openvino_tokenizer(folder / TOKENIZER, folder)
        front_end = read_front_end(folder, language)  # raises StableQuantError if the tokenizer does not fit
        named = language or generation.get("language") or front_end.language != "en"
        if is_multilingual(generation, sizes["vocab_size"]):
            generation = completed(generation, front_end.tokenizer) | ({"task": "transcribe"} if named else {})
        if named:
            generation["language"] = front_end.language
        write_json(folder / GENERATION, generation)

    return Imported(model, quantized_modules(sizes), write)


def _model(source: Path) -> PreTrainedModel:
    config = build_config(source / "config.json", read_config(source))
    model = load_pretrained(source, config, WHISPER)
    model.train(False).requires_grad_(False)
    return model


def _write_tokenizer(source: Path, config: PreTrainedConfig, file: Path) -> None:
    """Write the tokenizer of the checkpoint in ``source``, whose model has this ``config``, as tokenizer.json."""
    whole, vocabulary = processor_file(source, TOKENIZER), processor_file(source, "vocab.json")
    if whole.is_file():
        shutil.copyfile(whole, file)
        return
    place = vocabulary.parent
    if not vocabulary.is_file() or not (place / "merges.txt").is_file():  # transformers would guess the merges
        fault = f"neither {TOKENIZER} nor both vocab.json and merges.txt"
        raise StableQuantError(place, fault, "complete the checkpoint's folder")
    try:
        AutoTokenizer.from_pretrained(place, config=config, local_files_only=True).backend_tokenizer.save(str(file))
    except Exception as error:  # the library raises no exception class of its own
        raise StableQuantError(place, f"no usable tokenizer ({error})", "complete the checkpoint's folder") from error
