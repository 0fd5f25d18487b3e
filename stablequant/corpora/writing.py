"""What a corpus must know of the recogniser that is to hear it: the audio it takes and the words it can write."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol


class Writing(Protocol):
    """How a recogniser hears and writes; every family of recognisers has one.

    Attributes
    ----------
    sample_rate: of the audio that it takes, in Hz
    shortest_samples: the least audio that it recognises, in samples at that rate
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def shortest_samples(self) -> int: ...

    def spell(self, transcript: str) -> str:
        """The transcript as the recogniser would write it."""

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """How often spelled ``transcripts`` hold what the recogniser can never write."""
