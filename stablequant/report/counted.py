"""What the word error rate counts: words, or letters in languages without spaces."""

from pathlib import Path

from stablequant.recognisers.registry import family_of

LETTERS = "The language is written without spaces, so every letter counts as a word: WER is the rate of wrong letters."


def counted_instead(checkpoint: Path) -> str:
    """A sentence on what is counted by the recogniser in the folder ``checkpoint``; blank if that is words."""
    return LETTERS if family_of(checkpoint).front_end(checkpoint).splits_letters else ""
