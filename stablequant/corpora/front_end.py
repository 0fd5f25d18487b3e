"""What a corpus needs to know about a recogniser: the audio that it takes and the words that it can write."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

LABELS = ("wrd", "ltr", "phn")  # fairseq's files of transcripts: words, letters, phonemes


class FrontEnd(Protocol):
    """The audio that a recogniser takes and the text that it writes. Every family of recognisers implements it.

    Attributes
    ----------
    sample_rate: sample rate of the audio in Hz
    shortest_samples: length of the shortest audio that it recognises, in samples at that rate
    longest_samples: length of the longest audio that it recognises as one utterance; infinite if there is no limit
    labels: which of `LABELS` beside a manifest fit what it writes, the best first
    language: code of the language that it writes, such as ``en``; None if its files do not say
    splits_letters: whether `spell` sets spaces between letters, so that each counts as a word
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def shortest_samples(self) -> int: ...

    @property
    def longest_samples(self) -> float: ...

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def language(self) -> str | None: ...

    @property
    def splits_letters(self) -> bool: ...

    def spell(self, transcript: str) -> str:
        """``transcript`` as the recogniser would write it."""

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """Count the characters (or tokens) in spelled ``transcripts`` that the recogniser can never write."""
