"""The interface of a recogniser whose networks run as engines. Nothing in it needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from stablequant.corpora.utterance import Batch, Utterance


class NotFiniteError(ArithmeticError):
    """The output of a network contains NaN or infinity; ``row`` is the index of the recording in the batch."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the network's output for recording {row} contains NaN or infinity")
        self.row = row


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Attributes
    ----------
    word: as it is written
    start, end: seconds from the beginning of the recording
    confidence: between 0 and 1, as the family defines it in its ``words_of``; None if it gives none
    spaced: whether a space is before it in the text; false in languages that are written without spaces
    begins_segment: whether a segment of the model's own begins with it; CTC recognisers have none
    """

    word: str
    start: float
    end: float
    confidence: float | None = None
    spaced: bool = True
    begins_segment: bool = False


def text_of(words: Iterable[Word]) -> str:
    """The text that ``words`` are."""
    return "".join(f" {word.word}" if word.spaced else word.word for word in words).strip()


class Decoder(Protocol):
    """A recogniser whose networks run as engines."""

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float) -> list[Batch]:
        """Batches of at most ``most`` utterances, whose hidden values take at most ``budget`` bytes."""

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Hypotheses for the recordings of one batch, each float32 ``(samples,)``; raise `NotFiniteError`."""

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words in a recording of any length, float32 ``(samples,)``; raise `NotFiniteError`.

        The recording is cut into chunks of ``chunk_seconds``. ``budget`` and ``most`` are as in `batches`.
        """


@dataclass(frozen=True)
class BeamSearch:
    """How to search for words with a language model of words, hot words, or both.

    A text scores the logarithm of its posterior, plus ``weight`` times that of its probability by the language model,
    plus ``word_bonus`` for each word.

    Attributes
    ----------
    language_model: file of an n-gram model, ARPA (also gzipped) or KenLM's binary; None for none
    hot_words: words or phrases that are expected
    hot_word_weight: what a hot word adds to the score
    beam: number of texts that are followed at once
    weight, word_bonus: see above
    """

    language_model: Path | None = None
    hot_words: Sequence[str] = ()
    hot_word_weight: float = 10.0
    beam: int = 100
    weight: float = 0.5
    word_bonus: float = 1.5


@runtime_checkable
class SearchingDecoder(Decoder, Protocol):
    """A decoder that can search for words with a language model."""

    def searching(self, settings: BeamSearch) -> SearchingDecoder:
        """The same recogniser, which searches with ``settings``; raise `StableQuantError` if it cannot."""


@runtime_checkable
class BatchDecoder(Decoder, Protocol):
    """A decoder that recognises parts of several recordings at once."""

    def transcribe_all(
        self, recordings: Sequence[np.ndarray], chunk_seconds: float, budget: float, most: float
    ) -> list[list[Word]]:
        """`transcribe` for each of ``recordings``; `NotFiniteError` names the recording."""
