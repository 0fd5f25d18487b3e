"""Whisper's front end: audio to log-mel features, tokens to text, and which tokens a text may have."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stablequant.errors import StableQuantError, missing_package
from stablequant.recognisers.entries import size_of
from stablequant.recognisers.processor_files import PREPROCESSOR, processor_file, read_optional, read_preprocessor
from stablequant.recognisers.whisper.generation import (
    GENERATION,
    NO_TIMES,
    is_multilingual,
    named_language,
    read_generation,
)
from stablequant.recognisers.whisper.layers import ModelConfig, read_sizes
from stablequant.recognisers.whisper.mel import log_mel
from stablequant.recognisers.whisper.timestamps import TimeTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START, TRANSCRIBE = "<|startoftranscript|>", "<|transcribe|>"
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # the same token, by its name in newer and older tokenizers
TOKENIZER, SPELLING = "tokenizer.json", "normalizer.json"
FILES = ("config.json", GENERATION, PREPROCESSOR, TOKENIZER, SPELLING)
WITHOUT_SPACES = {"ja", "lo", "my", "th", "yue", "zh"}  # languages that are written so, as OpenAI's code lists them


@dataclass(frozen=True)
class FrontEnd:
    """See `stablequant.corpora.front_end.FrontEnd`.

    Attributes
    ----------
    sample_rate: in Hz
    window: samples of a window; shorter audio is padded with zeros, longer audio is refused
    bins, fft, hop: mel filters, samples of a frame, samples from one frame to the next
    prompt: tokens with which every text begins: start, language, task, no timestamps
    end: token that ends a text
    suppressed: tokens that are never written
    suppressed_first: tokens that are not written at the beginning either
    most_tokens: largest number of tokens of a text, without the prompt
    language: code such as ``en``
    tokenizer: of Hugging Face
    spelling: American spellings of British words, for English
    times: tokens of timestamps; None if the vocabulary has none
    labels: suffixes of fairseq's transcripts that hold words
    """

    sample_rate: int
    window: int
    bins: int
    fft: int
    hop: int
    prompt: Sequence[int]
    end: int
    suppressed: Sequence[int]
    suppressed_first: Sequence[int]
    most_tokens: int
    language: str
    tokenizer: Tokenizer
    spelling: Mapping[str, str]
    times: TimeTokens | None = None
    labels: tuple[str, ...] = ("wrd", "ltr")

    @property
    def shortest_samples(self) -> int:
        """One frame."""
        return self.hop

    @property
    def longest_samples(self) -> int:
        """A window."""
        return self.window

    @property
    def splits_letters(self) -> bool:
        """True in languages without spaces."""
        return self.language in WITHOUT_SPACES

    @functools.cached_property
    def _normalise(self) -> Callable[[str], str]:
        """Whisper's published normaliser: the English one, or the basic one for other languages."""
        with _needed("Whisper"):
            from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

        english: Callable[[dict[str, str]], Callable[[str], str]] = EnglishTextNormalizer
        basic: Callable[..., Callable[[str], str]] = BasicTextNormalizer
        if self.language == "en":
            return english(dict(self.spelling))
        return basic(split_letters=self.splits_letters)

    def spell(self, transcript: str) -> str:
        """``transcript`` normalised as Whisper's authors do before they count word errors."""
        return " ".join(self._normalise(transcript).split())

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """Nothing: tokens are made of bytes, which write every character."""
        return Counter()

    def text(self, tokens: Iterable[int]) -> str:
        """The text of ``tokens`` as Whisper writes it, with punctuation."""
        return str(self.tokenizer.decode([token for token in tokens if token < self.end])).strip()

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Log-mel features, float32 ``(bins, frames)``. Less than a window is padded with silence to a whole one."""
        padded = np.pad(samples, (0, max(0, self.window - len(samples))))
        return log_mel(padded, self.sample_rate, self.bins, self.fft, self.hop)

    def allowed(self, scores: np.ndarray, first: bool) -> np.ndarray:
        """``scores`` ``(..., classes)`` without those of suppressed tokens; ``first``: of a text's first token."""
        kept = scores.copy()
        kept[..., list(self.suppressed)] = -np.inf
        if first:
            kept[..., list(self.suppressed_first)] = -np.inf
        return kept


def read_front_end(folder: Path, language: str | None = None) -> FrontEnd:
    """The front end of the checkpoint, engine or bundle in ``folder``, for the language that it names or ``language``.

    Raises `StableQuantError` if a file is missing or damaged, or if the checkpoint does not know the language.
    """
    sizes = read_sizes(folder)
    generation, (settings, preprocessor) = read_generation(folder), read_preprocessor(folder)
    vocabulary = processor_file(folder, TOKENIZER)
    tokenizer = _tokenizer(vocabulary)
    multilingual = is_multilingual(generation, sizes["vocab_size"])
    language = _code(language or named_language(generation, tokenizer, folder), tokenizer, folder)
    if language != "en" and not multilingual:
        raise StableQuantError(folder, f"it writes English only, not '{language}'", "take a multilingual checkpoint")
    prompt = [START, *([f"<|{language}|>", TRANSCRIBE] if multilingual else []), NO_TIMES]
    end = generation.get("eos_token_id")
    rate, hop, fft = (size_of(preprocessor, key, settings) for key in ("sampling_rate", "hop_length", "n_fft"))
    if fft > rate:
        raise StableQuantError(settings, f"'n_fft' is {fft}, more than a second", "restore the file")
    window = rate * size_of(preprocessor, "chunk_length", settings)
    if window // hop != 2 * sizes["max_source_positions"]:
        raise StableQuantError(
            settings, "its window is not as long as the encoder's", "restore the files of the checkpoint"
        )
    if not isinstance(end, int) or not 0 <= end < sizes["vocab_size"]:
        raise StableQuantError(folder / GENERATION, f"'eos_token_id' is {end!r}", "restore the file")
    tokens = []
    for token in prompt:
        number = tokenizer.token_to_id(token)
        if number is None or number >= sizes["vocab_size"]:
            raise StableQuantError(
                vocabulary, f"no token {token}", "take a checkpoint of Whisper that knows the language"
            )
        tokens.append(number)
    spelling = read_optional(processor_file(folder, SPELLING))
    times = _times(generation, tokenizer, tokens, sizes)
    if times and any(tokenizer.id_to_token(n) is not None for n in range(times.last + 1, sizes["vocab_size"])):
        raise StableQuantError(
            vocabulary,
            "tokens were added behind the timestamps, and would be missing from texts",
            "take a checkpoint with Whisper's own vocabulary",
        )
    return FrontEnd(
        rate,
        window,
        sizes["num_mel_bins"],
        fft,
        hop,
        tokens,
        end,
        _tokens(generation, "suppress_tokens", sizes["vocab_size"], folder),
        _tokens(generation, "begin_suppress_tokens", sizes["vocab_size"], folder),
        sizes["max_target_positions"] - len(tokens),
        language,
        tokenizer,
        {str(word): str(american) for word, american in spelling.items()},
        times,
    )


def _times(
    generation: Mapping[str, object], tokenizer: Tokenizer, prompt: Sequence[int], sizes: ModelConfig
) -> TimeTokens | None:
    """The tokens of timestamps. They follow the last token of ``prompt``, which asks for a text without them."""
    zero, last = prompt[-1] + 1, prompt[-1] + 1 + sizes["max_source_positions"]
    if last >= sizes["vocab_size"]:
        return None
    limit = generation.get("max_initial_timestamp_index")
    known = [number for name in NO_SPEECH if (number := tokenizer.token_to_id(name)) is not None]
    return TimeTokens(
        prompt[:-1], zero, last, limit if isinstance(limit, int) and limit >= 0 else None, known[0] if known else None
    )


@contextmanager
def _needed(place: Path | str) -> Iterator[None]:
    """A missing package is told with what installs it."""
    try:
        yield
    except ImportError as missing:
        raise missing_package(place, missing.name, "whisper") from missing


def _tokenizer(file: Path) -> Tokenizer:
    with _needed(file):
        from tokenizers import Tokenizer
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no exception class of its own
        raise StableQuantError(file, f"not a tokenizer ({error})", "restore the file") from error


def _code(language: str, tokenizer: Tokenizer, folder: Path) -> str:
    """The code of a language that may be named as transformers allows, such as ``German``."""
    if language == "en" or tokenizer.token_to_id(f"<|{language}|>") is not None:
        return language
    with _needed(folder):
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    return str(TO_LANGUAGE_CODE.get(language.lower(), language.lower()))


def _tokens(generation: Mapping[str, object], key: str, classes: int, folder: Path) -> list[int]:
    listed = generation.get(key) or []
    if not isinstance(listed, list) or not all(isinstance(token, int) and 0 <= token < classes for token in listed):
        raise StableQuantError(folder / GENERATION, f"'{key}' is {listed!r}", "restore the file")
    return listed
