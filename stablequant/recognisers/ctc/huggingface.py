"""Read CTC checkpoints in Hugging Face layout."""

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoModelForCTC, PreTrainedConfig, PreTrainedModel

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.language import listed, read_adapter
from stablequant.recognisers.ctc.vocabulary import SPECIAL, Vocabulary
from stablequant.recognisers.ctc.word_marks import find_delimiter, is_written_without_spaces
from stablequant.recognisers.pretrained import Kind, build_config, load_pretrained
from stablequant.recognisers.processor_files import processor_file, read_optional, read_preprocessor
from stablequant.storage.files import read_json

Extractor = TypeVar("Extractor", bound=FrontEnd)
NAMED = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
PHONEMES = "Wav2Vec2PhonemeCTCTokenizer"  # every token counts as a word, and delimiters of words are not written
BLANKS = {"<blank>", "[blank]", "<blk>", "[blk]", "<ctc>"}  # names of the blank where the pad token is another one
MARKER = re.compile(r"<.*>|\[.*\]")  # form of tokens that are no letters
CTC = Kind(
    AutoModelForCTC,
    ("CTC head", "lm_head"),
    re.compile(r"(masked_spec_embed|num_batches_tracked)$|^wav2vec2_conformer\.encoder\.pos_conv_embed\."),
    re.compile(r"encoder\.layers\.|adapter|lm_head"),
)
MOST = {"num_hidden_layers": 1000, "vocab_size": 10**6}  # beyond, building the model would never end


def read_huggingface(
    folder: Path,
    read_front_end: Callable[[Path, PreTrainedConfig, str | None], Extractor],
    language: str | None = None,
) -> tuple[PreTrainedModel, Extractor]:
    """The CTC model in ``folder`` in float32, and its front end.

    ``read_front_end`` reads the front end from the folder, by its config and ``language``. The latter names the
    adapter and vocabulary to take from a checkpoint with adapters for languages.

    Raises `StableQuantError` if the checkpoint is damaged or not supported.
    """
    try:
        settings = _read_config(folder)
        config = build_config(folder / "config.json", settings)
        adapter = read_adapter(folder, config, language) if language is not None else None
        front_end = read_front_end(folder, adapter.fitted(config) if adapter else config, language)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        fault = f"its config, preprocessor or vocabulary holds something else than it should ({error!r})"
        raise StableQuantError(folder, fault[:300], "restore the files") from error
    model = load_pretrained(folder, config, CTC)
    if adapter:
        adapter.apply(model)
    model.config.pad_token_id = front_end.vocabulary.blank
    return model, front_end


def _read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``; raise `StableQuantError` if it is not a supported CTC recogniser."""
    path = folder / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise StableQuantError(path, "not a model's configuration", "restore it")
    for key, most in MOST.items():
        if key in config and not (type(config[key]) is int and 0 < config[key] <= most):
            raise StableQuantError(path, f"'{key}' is {config[key]!r}, no number up to {most}", "restore the file")
    return config


def waveform_front_end(folder: Path, config: PreTrainedConfig, language: str | None = None) -> FrontEnd:
    """The front end of a recogniser that reads audio, see `read_huggingface`."""
    if getattr(config, "add_adapter", False):
        fault = "convolutions after the encoder (add_adapter) are not supported"
        raise StableQuantError(folder / "config.json", fault, "take a checkpoint without")
    if getattr(config, "adapter_attn_dim", None) and not getattr(config, "do_stable_layer_norm", False):
        fault = "layers with norms behind the blocks have no adapters for languages (adapter_attn_dim)"
        raise StableQuantError(folder / "config.json", fault, "correct 'do_stable_layer_norm'")
    path, settings = read_preprocessor(folder)
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    size = settings.get("feature_size", 1)
    if kind != "Wav2Vec2FeatureExtractor" or size != 1:
        raise StableQuantError(
            path, f"{kind} (feature_size {size}) does not take raw audio", "take a checkpoint that reads the waveform"
        )
    return FrontEnd(
        int(settings.get("sampling_rate", 16_000)),
        bool(settings.get("do_normalize", True)),
        read_tokens(folder, config, language),
    )


def read_tokens(folder: Path, config: PreTrainedConfig, language: str | None = None) -> Vocabulary:
    """The vocabulary, from ``vocab.json`` and from the tokens that the tokenizer's other files add.

    ``language`` names one of several vocabularies in ``vocab.json``.
    """
    path = processor_file(folder, "vocab.json")
    if not path.is_file() or not (classes := dict(read_json(path))):
        raise StableQuantError(
            path,
            "the file does not exist or is empty",
            "complete the checkpoint's folder; a base model has no vocabulary: take one that was fine-tuned with CTC",
        )
    if any(isinstance(value, dict) for value in classes.values()):
        if language is None:
            raise StableQuantError(path, f"vocabularies of {len(classes)} languages", _remedy(config, list(classes)))
        classes = dict(classes[language])
    tokenizer = _read_tokenizer(path.parent)
    names = _named_tokens(tokenizer)
    by_class = {index: token for token, index in classes.items()}
    for token, index in _added(path.parent, tokenizer):
        classes.setdefault(token, index)
        by_class.setdefault(index, token)
    if not all(type(index) is int and index >= 0 for index in by_class):
        raise StableQuantError(path, "not a mapping of tokens to the classes 0, 1, ...", "restore the vocabulary")
    count: int = config.vocab_size
    special = {token for token in [*names.values(), *SPECIAL] if token in classes}
    beyond = [token for index, token in by_class.items() if index >= count and token not in special]
    if any(not MARKER.fullmatch(token) for token in beyond):
        fault = f"class {classes[beyond[0]]} is '{beyond[0]}', but the model has only {count} classes (vocab_size)"
        raise StableQuantError(path, fault, "take the vocabulary that belongs to the model")
    blank = next((classes[token] for token in classes if token.lower() in BLANKS), None)
    if blank is None:
        blank = classes.get(names["pad_token"], config.pad_token_id)
    if type(blank) is not int or not 0 <= blank < count:
        raise StableQuantError(
            path, f"the blank (pad token) is no class below {count}", "correct the tokenizer's files"
        )
    if blank != config.pad_token_id:
        logging.info("%s: the blank is class %d; config.json names class %s", path, blank, config.pad_token_id)
    tokens = [by_class.get(index, f"<unused{index}>") for index in range(count)]
    special |= {token for token in tokens if token.startswith("<unused") and token not in classes}
    named = _content(tokenizer.get("word_delimiter_token", "|"))
    if (tokenizer.get("tokenizer_class") or config.to_dict().get("tokenizer_class")) == PHONEMES:
        return Vocabulary(tokens, blank, None, frozenset(special | {token for token in tokens if token == named}))
    written = {token for token, index in classes.items() if token not in special and index != blank}
    delimiter = find_delimiter(written, named)
    if delimiter is not None and is_written_without_spaces(written - {delimiter}):
        logging.info("%s: it writes Chinese or Japanese, without spaces, so each character counts as a word", path)
        special, delimiter = special | {delimiter}, None
    if tokenizer.get("do_lower_case"):
        tokens = _lower_case(path, tokens, special)
    return Vocabulary(tokens, blank, delimiter, frozenset(special) - {delimiter})


def _remedy(config: PreTrainedConfig, languages: Sequence[str]) -> str:
    """What to do about a checkpoint of several languages of which none is named."""
    if getattr(config, "adapter_attn_dim", None):
        return f"set 'target_lang' of the model to one of them: {listed(languages)}"
    return "take a checkpoint of one language, or leave one in it"


def _read_tokenizer(folder: Path) -> dict[str, Any]:
    """The tokenizer's settings. As in transformers, old files name their tokens in ``special_tokens_map.json``."""
    settings = read_optional(folder / "tokenizer_config.json")
    return (
        settings if "added_tokens_decoder" in settings else settings | read_optional(folder / "special_tokens_map.json")
    )


def _named_tokens(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens with a meaning by this meaning, with transformers' defaults for those that are not named."""
    return {key: _content(tokenizer.get(key, default)) for key, default in NAMED.items()}


def _added(folder: Path, tokenizer: Mapping[str, Any]) -> list[tuple[Any, int]]:
    """Tokens that the tokenizer's other files add, with their classes."""
    added = list(read_optional(folder / "added_tokens.json").items())
    return added + [(_content(token), int(index)) for index, token in tokenizer.get("added_tokens_decoder", {}).items()]


def _lower_case(path: Path, tokens: list[str], special: Collection[str]) -> list[str]:
    """``tokens`` as transformers writes them with ``do_lower_case``."""
    lower = [token if token in special else token.lower() for token in tokens]
    if len(set(lower)) < len(tokens):
        raise StableQuantError(
            path, "the tokenizer has 'do_lower_case', but letters differ only in their case", "correct one of them"
        )
    return lower


def _content(token: str | dict[str, str] | None) -> str | None:
    """Text of a token. The tokenizer's files contain tokens as text, or as objects with the text in ``content``."""
    return token.get("content") if isinstance(token, dict) else token
