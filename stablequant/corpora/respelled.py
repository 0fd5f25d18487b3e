"""What was left out of the transcripts of a split, or replaced, so that the recogniser can write them."""

import logging
import unicodedata
from collections import Counter

from stablequant.corpora.front_end import FrontEnd

MOST_SHOWN = 20


class Respelled:
    """Spells transcripts as ``front_end`` writes them, and counts what differs then, apart from case and spaces."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self._gone: Counter[str] = Counter()
        self._example: tuple[str, str] | None = None

    def spell(self, transcript: str) -> str:
        """``transcript`` as the recogniser would write it."""
        spelled = self.front_end.spell(transcript)
        gone = _characters(transcript) - _characters(spelled)
        self._gone += gone
        if gone and self._example is None:
            self._example = transcript, spelled
        return spelled

    def log(self) -> None:
        """Say once what was left out or replaced, with counts and an example."""
        if self._example is not None:
            transcript, spelled = self._example
            logging.info(
                "left out of transcripts, or replaced: %s; such as '%s', now '%s'",
                shown(self._gone),
                transcript[:80],
                spelled[:80],
            )


def shown(counts: Counter[str]) -> str:
    """The most frequent characters with their counts; those that cannot be seen alone by their code points."""
    return " ".join(f"{_visible(unit)} ({count})" for unit, count in counts.most_common(MOST_SHOWN))


def _visible(unit: str) -> str:
    if len(unit) == 1 and (not unit.isprintable() or unicodedata.category(unit)[0] == "M"):
        return f"U+{ord(unit):04X}"
    return unit


def _characters(text: str) -> Counter[str]:
    """The characters of ``text`` without case and spaces, accents apart."""
    return Counter(c for c in unicodedata.normalize("NFD", text.casefold()) if not c.isspace())
