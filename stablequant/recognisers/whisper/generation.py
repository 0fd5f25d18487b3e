"""What a checkpoint of Whisper says of its texts: whether it knows several languages, and which one it writes.

Newer checkpoints say it in generation_config.json. Older ones say it in config.json, or only by their tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stablequant.errors import StableQuantError
from stablequant.recognisers.entries import read_settings
from stablequant.recognisers.sources import read_config

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GENERATION = "generation_config.json"
FORCED = "forced_decoder_ids"
FROM_CONFIG = (  # what transformers takes from config.json if there is no generation_config.json
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "max_length",
)
MULTILINGUAL_TOKENS = 51_865  # as OpenAI's code decides; its English vocabularies have 51,864, large-v3's has 51,866
LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")  # the token of a language; those with other meanings have longer names
TASKS, NO_TIMES = ("translate", "transcribe"), "<|notimestamps|>"


def read_generation(folder: Path) -> dict[str, object]:
    """The settings of generation of the checkpoint in ``folder``, from the files in which transformers looks for them.

    Raises `StableQuantError` if a file is damaged.
    """
    file, config = folder / GENERATION, read_config(folder)
    if file.is_file():
        found = dict(read_settings(file))
    else:
        found = {key: config[key] for key in FROM_CONFIG if config.get(key) is not None}
    if found.get(FORCED) is None and config.get(FORCED) is not None:
        found[FORCED] = config[FORCED]
    return found


def is_multilingual(generation: Mapping[str, object], classes: int) -> bool:
    """Whether a checkpoint with these settings and ``classes`` tokens is told the language of each text."""
    if generation.get("lang_to_id") is not None:
        return True
    named = generation.get("is_multilingual")
    return classes >= MULTILINGUAL_TOKENS if named is None else bool(named)


def named_language(generation: Mapping[str, object], tokenizer: Tokenizer, folder: Path) -> str:
    """The language that the settings name, English if they name none."""
    named = generation.get("language") or _forced(generation, tokenizer) or "en"
    if not isinstance(named, str):
        raise StableQuantError(folder / GENERATION, f"'language' is {named!r}", "write a code such as en")
    return named.strip("<|>")


def completed(generation: Mapping[str, object], tokenizer: Tokenizer) -> dict[str, object]:
    """The settings of a multilingual checkpoint with the numbers of tokens that newer ones hold.

    transformers looks for them wherever a language is named.
    """
    tasks = {task: tokenizer.token_to_id(f"<|{task}|>") for task in TASKS}
    whole = {
        "is_multilingual": True,
        "lang_to_id": _languages(tokenizer),
        "task_to_id": {task: number for task, number in tasks.items() if number is not None},
        "no_timestamps_token_id": tokenizer.token_to_id(NO_TIMES),
    }
    return whole | {key: value for key, value in generation.items() if value is not None or key not in whole}


def _forced(generation: Mapping[str, object], tokenizer: Tokenizer) -> str | None:
    """The language that an older checkpoint names by its token, as what is written first."""
    forced, known = generation.get(FORCED), generation.get("lang_to_id")
    if not isinstance(forced, list):
        return None
    known = known if isinstance(known, dict) else _languages(tokenizer)
    return next((str(name) for name, token in known.items() if isinstance(token, int) and [1, token] in forced), None)


def _languages(tokenizer: Tokenizer) -> dict[str, int]:
    """The tokens of languages, and their numbers in rising order."""
    found = {name: number for name, number in tokenizer.get_vocab().items() if LANGUAGE.fullmatch(name)}
    return dict(sorted(found.items(), key=lambda entry: entry[1]))
