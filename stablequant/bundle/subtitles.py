"""Subtitles in the formats SubRip and WebVTT."""

import html
from collections.abc import Sequence

from stablequant.recognisers.decoder import Word, text_of

LETTERS = 84  # largest number of letters in one subtitle: two lines of 42
SECONDS = 7.0  # longest time that one subtitle is shown
PAUSE = 0.8  # seconds of silence that end a subtitle
SHORTEST = 0.001  # seconds; WebVTT wants an end after the start, and a word may have no duration


def subrip(words: Sequence[Word]) -> str:
    """Text of a SubRip file: ``words`` as numbered subtitles with their times."""
    return "\n".join(f"{number}\n{_cue(cue, ',', text_of(cue))}" for number, cue in enumerate(cues(words), start=1))


def webvtt(words: Sequence[Word]) -> str:
    """Text of a WebVTT file: ``words`` as subtitles with their times.

    W3C, "WebVTT: The Web Video Text Tracks Format", section 4.2.2: ``&``, ``<`` and ``>`` in a text are escaped.
    """
    return "WEBVTT\n\n" + "\n".join(_cue(cue, ".", html.escape(text_of(cue), quote=False)) for cue in cues(words))


def _cue(cue: Sequence[Word], point: str, text: str) -> str:
    start, end = cue[0].start, max(cue[-1].end, cue[0].start + SHORTEST)
    return f"{_time(start, point)} --> {_time(end, point)}\n{text}\n"


def cues(words: Sequence[Word]) -> list[list[Word]]:
    """``words`` in parts that are shown at once: they end at pauses, with the model's own segments, and when full."""
    found: list[list[Word]] = []
    for word in words:
        if found and _fits(found[-1], word):
            found[-1].append(word)
        else:
            found.append([word])
    return found


def _fits(cue: Sequence[Word], word: Word) -> bool:
    if word.begins_segment:
        return False
    letters = sum(len(w.word) + 1 for w in cue) + len(word.word)
    return letters <= LETTERS and word.end - cue[0].start <= SECONDS and word.start - cue[-1].end < PAUSE


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
