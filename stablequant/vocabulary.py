"""From frames of CTC posteriors to words."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.files import read_json

SPECIAL = {"<pad>", "<s>", "</s>", "<unk>", "[PAD]", "[UNK]"}


@dataclass(frozen=True)
class Vocabulary:
    """``tokens`` by class index; ``blank``: CTC's blank class; ``delimiter``: the token between words."""

    tokens: list[str]
    blank: int
    delimiter: str = "|"

    def decode(self, classes: np.ndarray) -> str:
        """Best-path decoding of class indices ``(frames,)``: merge repeats, drop blanks and special tokens."""
        kept = (self.tokens[c] for c, _ in groupby(classes.tolist()) if c != self.blank and c < len(self.tokens))
        letters = "".join(" " if t == self.delimiter else t for t in kept if t not in SPECIAL)
        return " ".join(letters.split())


def read_vocabulary(path: Path, blank: int) -> Vocabulary:
    """Read a ``vocab.json`` (token -> class); ``blank`` is the model config's ``pad_token_id``."""
    classes = read_json(path)
    if not isinstance(classes, dict) or sorted(classes.values()) != list(range(len(classes))):
        raise StableQuantError(path, "not a mapping of tokens to the classes 0, 1, ...", "restore the vocabulary")
    return Vocabulary(sorted(classes, key=classes.__getitem__), blank)
