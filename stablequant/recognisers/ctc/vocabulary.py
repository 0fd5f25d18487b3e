"""The vocabulary of a CTC recogniser: it decodes frames to words and spells transcripts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.spelling import Spelling
from stablequant.recognisers.ctc.word_marks import texts_of
from stablequant.storage.files import read_json

SPECIAL = frozenset({"<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]"})


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the classes of a CTC head.

    Attributes
    ----------
    tokens: token of each class, by class index
    blank: index of the blank class
    delimiter: token between words; without one, words are marked on the tokens (see `word_marks`), or every token
        counts as a word (phonemes, characters)
    special: tokens that are never written
    """

    tokens: list[str]
    blank: int
    delimiter: str | None = "|"
    special: frozenset[str] = SPECIAL

    def decode(self, classes: np.ndarray) -> str:
        """Best-path decoding of class indices ``(frames,)``: merge repetitions, remove blanks and special tokens."""
        return " ".join("".join(self.written(c) for c, _ in groupby(classes.tolist())).split())

    def written(self, index: int) -> str:
        """What the class ``index`` writes, with a space where a word begins or ends.

        Empty for the blank and for tokens that are never written.
        """
        return self._written.get(index, "")

    @cached_property
    def _listed(self) -> dict[int, str]:
        """The tokens that are written, by class."""
        tokens = enumerate(self.tokens)
        return {index: token for index, token in tokens if index != self.blank and token not in self.special}

    @cached_property
    def _texts(self) -> list[str] | None:
        """What these tokens write, with spaces around words; None if nothing marks words."""
        return texts_of(list(self._listed.values()), self.delimiter)

    @cached_property
    def _written(self) -> dict[int, str]:
        texts = [f"{token} " for token in self._listed.values()] if self._texts is None else self._texts
        return dict(zip(self._listed, texts, strict=True))

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling({word for text in self._written.values() for word in text.split()})

    @property
    def phonemic(self) -> bool:
        """Whether every token counts as a word, and some are longer than a letter."""
        return self._texts is None and self._spelling.has_long_tokens

    @property
    def splits_letters(self) -> bool:
        """Whether every token counts as a word, and each is a single letter."""
        return self._texts is None and not self._spelling.has_long_tokens

    def spell(self, transcript: str) -> str:
        """``transcript`` as the recogniser would write it, so that its spelling causes no word errors.

        See `Spelling.words`. If nothing marks words, tokens are separated by spaces. If they are also longer than a
        letter (phonemes), the transcript should consist of them: What is none and does not consist of some stays.
        """
        if self.phonemic:
            return " ".join(unit for typed in self._spelling.visible(transcript).split() for unit in self._units(typed))
        words = self._spelling.words(transcript)
        if self._texts is None:
            return " ".join(unit for word in words for unit, _ in self._spelling.split(word))
        return " ".join(words)

    def _units(self, typed: str) -> list[str]:
        """The tokens in a part of a transcript; the part itself if it does not consist of tokens."""
        whole = next((form for form in (typed, typed.upper(), typed.lower()) if form in self._spelling.letters), None)
        if whole is not None:
            return [whole]
        pieces = self._spelling.split(typed)
        return [token for token, _ in pieces] if all(written for _, written in pieces) else [typed]

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """Count the characters (if nothing marks words: tokens) in ``transcripts`` that are not in the vocabulary.

        ``transcripts`` are results of `spell`.
        """
        words = (word for text in transcripts for word in text.split())
        if self._texts is None:
            return Counter(word for word in words if word not in self._spelling.letters)
        return Counter(left for word in words for left, written in self._spelling.split(word) if not written)


def read_vocabulary(folder: Path, blank: int) -> Vocabulary:
    """Read ``vocab.json`` (token -> class) and, if it exists, ``tokenizer_config.json`` in a checkpoint's folder.

    ``blank`` is ``pad_token_id`` in ``config.json``. Raises `StableQuantError` if a file is damaged.
    """
    path = folder / "vocab.json"
    classes = read_json(path)
    if not isinstance(classes, dict) or sorted(classes.values(), key=str) != sorted(range(len(classes)), key=str):
        raise StableQuantError(path, "not a mapping of tokens to the classes 0, 1, ...", "restore the vocabulary")
    if blank not in classes.values():
        raise StableQuantError(path, f"no token for the blank, class {blank}", "correct 'pad_token_id' in config.json")
    tokenizer = folder / "tokenizer_config.json"
    settings = read_json(tokenizer) if tokenizer.is_file() else {"word_delimiter_token": "|"}
    if not isinstance(settings, dict):
        raise StableQuantError(tokenizer, "not a tokenizer's settings", "restore the file")
    delimiter, added = settings.get("word_delimiter_token"), settings.get("additional_special_tokens") or []
    texts = isinstance(added, list) and all(isinstance(token, str) for token in added)
    if not texts or not isinstance(delimiter, str | None):
        raise StableQuantError(tokenizer, "some tokens are not text", "restore the file")
    special = SPECIAL.union(added)
    return Vocabulary(sorted(classes, key=classes.__getitem__), blank, delimiter, special - {delimiter})
