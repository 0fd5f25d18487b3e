"""The vocabulary of a CTC recogniser: it decodes frames to words and spells transcripts."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.storage.files import read_json, write_json

SPECIAL = frozenset({"<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]"})
APOSTROPHES = "'\u2019\u2018\u02bc"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the classes of a CTC head.

    Attributes
    ----------
    tokens: token of each class, by class index
    blank: index of the blank class
    delimiter: token between words; None if every token counts as a word (phonemes, characters)
    special: tokens that are never written
    """

    tokens: list[str]
    blank: int
    delimiter: str | None = "|"
    special: frozenset[str] = SPECIAL

    def decode(self, classes: np.ndarray) -> str:
        """Best-path decoding of class indices ``(frames,)``: merge repetitions, remove blanks and special tokens."""
        written = [token for c, _ in groupby(classes.tolist()) if (token := self.written(c))]
        if self.delimiter is None:
            return " ".join(written)
        letters = "".join(" " if token == self.delimiter else token for token in written)
        return " ".join(letters.split())

    def written(self, index: int) -> str:
        """The token of the class ``index``; empty for the blank and for tokens that are never written."""
        if index == self.blank or index >= len(self.tokens) or self.tokens[index] in self.special:
            return ""
        return self.tokens[index]

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset(self.tokens) - self.special - {self.delimiter, self.tokens[self.blank]}

    @property
    def _phonemic(self) -> bool:
        """Whether tokens are longer than letters. If there is a word delimiter, longer tokens are only markers."""
        return self.delimiter is None and any(len(token) > 1 for token in self._letters)

    def spell(self, transcript: str) -> str:
        """``transcript`` as the recogniser would write it, so that its spelling causes no word errors.

        If tokens are single letters: Letters get the case of the vocabulary if it has only one case. Punctuation and
        symbols that the vocabulary lacks become spaces. All kinds of apostrophes become ``'``, or are removed if the
        vocabulary lacks it. Without a word delimiter, characters are separated by spaces.

        If tokens have several letters (phonemes), the transcript must consist of tokens separated by spaces, and they
        stay as they are.
        """
        if self._phonemic:
            return " ".join(transcript.split())
        text = unicodedata.normalize("NFC", transcript)
        letters = [token for token in self._letters if len(token) == 1]
        if not any(letter.islower() for letter in letters):
            text = text.upper()
        elif not any(letter.isupper() for letter in letters):
            text = text.lower()
        characters = "".join(self._written(character) for character in text).split()
        return " ".join(characters if self.delimiter is not None else "".join(characters))

    def _written(self, character: str) -> str:
        if character in self._letters or character.isspace():
            return character
        if character in APOSTROPHES:
            return "'" if "'" in self._letters else ""
        return " " if unicodedata.category(character)[0] in "PS" else character

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """Count the characters (without a word delimiter: tokens) in ``transcripts`` that are not in the vocabulary.

        ``transcripts`` are results of `spell`.
        """
        apart = self.delimiter is None
        units = (unit for text in transcripts for unit in (text.split() if apart else text.replace(" ", "")))
        return Counter(unit for unit in units if unit not in self._letters)


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


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write the files that `read_vocabulary` reads. The index of the blank is in the model's config."""
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(vocabulary.tokens)})
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": vocabulary.tokens[vocabulary.blank],
            "word_delimiter_token": vocabulary.delimiter,
            "additional_special_tokens": sorted(vocabulary.special & set(vocabulary.tokens)),
        },
    )
