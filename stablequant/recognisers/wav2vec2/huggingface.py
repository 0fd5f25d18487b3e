"""Read CTC checkpoints in Hugging Face layout."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCTC, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.vocabulary import SPECIAL, Vocabulary
from stablequant.recognisers.ctc.word_marks import find_delimiter
from stablequant.recognisers.unpickling import refusal
from stablequant.storage.files import read_json

TRAINING_ONLY = ("masked_spec_embed",)  # parameters that no inference reads, which published files leave out
MOST = {"num_hidden_layers": 1000, "vocab_size": 10**6}  # beyond, building the model would never end


def read_huggingface(folder: Path) -> tuple[PreTrainedModel, FrontEnd]:
    """The CTC model in ``folder`` in float32, and its front end.

    Raises `StableQuantError` if the checkpoint is damaged or not supported.
    """
    try:
        config = _read_config(folder)
        front_end = _read_front_end(folder, config)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        fault = f"its config, preprocessor or vocabulary holds something else than it should ({error!r})"
        raise StableQuantError(folder, fault[:300], "restore the files") from error
    silence: Callable[[], None] = disable_progress_bar
    silence()
    try:
        model, loading = AutoModelForCTC.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # transformers passes on the errors of its readers
        if fault_of_the_machine(error):
            raise
        raise StableQuantError(folder, f"the weights cannot be read: {refusal(error)}", "restore them") from error
    missing = sorted(name for name in loading["missing_keys"] if not name.endswith(TRAINING_ONLY))
    if missing and all(name.startswith("lm_head.") for name in missing):
        raise StableQuantError(
            folder, "the weights hold no CTC head (lm_head)", "take a checkpoint fine-tuned with CTC"
        )
    if missing:
        raise StableQuantError(folder, f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more", "complete it")
    for name in loading["missing_keys"]:  # transformers draws them at random; the same file must give the same import
        model.get_parameter(name).data.zero_()
    mismatched = loading.get("mismatched_keys")
    if mismatched:
        raise StableQuantError(folder, f"the weights do not fit config.json ({sorted(mismatched)[0]})", "restore them")
    model.config.pad_token_id = front_end.vocabulary.blank
    return model, front_end


def _read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``; raise `StableQuantError` if it is not a supported CTC recogniser."""
    path = folder / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise StableQuantError(path, "not a model's configuration", "restore it")
    kind = config.get("model_type")
    architecture = (config.get("architectures") or ["a model of no named architecture"])[0]
    for key, most in MOST.items():
        if key in config and not (type(config[key]) is int and 0 < config[key] <= most):
            raise StableQuantError(path, f"'{key}' is {config[key]!r}, no number up to {most}", "restore the file")
    if config.get("architectures") and not architecture.endswith("ForCTC"):
        raise StableQuantError(
            path, f"{architecture} ({kind}) has no CTC head", "take a checkpoint fine-tuned with CTC (...ForCTC)"
        )
    for key in ("add_adapter", "adapter_attn_dim"):
        if config.get(key):
            raise StableQuantError(path, f"checkpoints with adapters ({key}) are not supported", "take one without")
    return config


def _read_front_end(folder: Path, config: Mapping[str, Any]) -> FrontEnd:
    path = folder / "preprocessor_config.json"
    if path.is_file():
        settings = read_json(path)
    else:
        together = folder / "processor_config.json"  # transformers 5 writes this file for a processor
        settings = read_json(together).get("feature_extractor") if together.is_file() else None
    if not isinstance(settings, dict):
        raise StableQuantError(path, "the file does not exist", "complete the checkpoint's folder")
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind != "Wav2Vec2FeatureExtractor":
        raise StableQuantError(path, f"{kind} does not take raw audio", "take a checkpoint that reads the waveform")
    return FrontEnd(
        int(settings.get("sampling_rate", 16_000)),
        bool(settings.get("do_normalize", True)),
        _read_tokens(folder, config),
    )


def _read_tokens(folder: Path, config: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary, from ``vocab.json`` and from the tokens that the tokenizer's other files add."""
    path = folder / "vocab.json"
    classes: dict[str, int] = dict(read_json(path)) if path.is_file() else {}
    tokenizer = _optional(folder / "tokenizer_config.json")
    if not classes:
        raise StableQuantError(path, "the file does not exist or is empty", "complete the checkpoint's folder")
    if any(isinstance(value, dict) for value in classes.values()):
        raise StableQuantError(
            path, f"vocabularies of {len(classes)} languages", "take a checkpoint of one language, or leave one in it"
        )
    for token, index in _optional(folder / "added_tokens.json").items():
        classes.setdefault(token, index)
    for index, token in tokenizer.get("added_tokens_decoder", {}).items():
        name: Any = _content(token)
        classes.setdefault(name, int(index))
    by_class = {index: token for token, index in classes.items()}
    if not all(type(index) is int and index >= 0 for index in by_class):
        raise StableQuantError(path, "not a mapping of tokens to the classes 0, 1, ...", "restore the vocabulary")
    named: dict[str, Any] = {
        key: _content(tokenizer.get(key)) for key in ("pad_token", "unk_token", "bos_token", "eos_token")
    }
    count = config.get("vocab_size", len(classes))
    tokens = [by_class.get(index, f"<unused{index}>") for index in range(count)]
    blank = classes.get(named["pad_token"], config.get("pad_token_id"))
    if type(blank) is not int or not 0 <= blank < count:
        raise StableQuantError(
            path, f"the blank (pad token) is no class below {count}", "correct the tokenizer's files"
        )
    special = {token for token in [*named.values(), *SPECIAL] if token in classes}
    special |= {token for token in tokens if token.startswith("<unused") and token not in classes}
    written = {token for token, index in classes.items() if token not in special and index != blank}
    delimiter = find_delimiter(written, _content(tokenizer.get("word_delimiter_token", "|")))
    return Vocabulary(tokens, blank, delimiter, frozenset(special) - {delimiter})


def _optional(file: Path) -> dict[str, Any]:
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise StableQuantError(file, "not a JSON object", "restore it")
    return content


def _content(token: str | dict[str, str] | None) -> str | None:
    """Text of a token. The tokenizer's files contain tokens as text, or as objects with the text in ``content``."""
    return token.get("content") if isinstance(token, dict) else token
