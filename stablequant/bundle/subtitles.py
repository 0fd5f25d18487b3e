"""Subtitles in the SubRip format."""

from collections.abc import Sequence

from stablequant.recognisers.family import Word

LETTERS = 84  # largest number of letters in one subtitle: two lines of 42
SECONDS = 7.0  # longest time that one subtitle is shown
PAUSE = 0.8  # seconds of silence that end a subtitle


def subtitles(words: Sequence[Word]) -> str:
    """Text of a SubRip file: ``words`` as numbered subtitles with their times."""
    blocks = []
    for number, cue in enumerate(_cues(words), start=1):
        text = " ".join(word.word for word in cue)
        blocks.append(f"{number}\n{_time(cue[0].start)} --> {_time(cue[-1].end)}\n{text}\n")
    return "\n".join(blocks)


def _cues(words: Sequence[Word]) -> list[list[Word]]:
    cues: list[list[Word]] = []
    for word in words:
        if cues and _fits(cues[-1], word):
            cues[-1].append(word)
        else:
            cues.append([word])
    return cues


def _fits(cue: Sequence[Word], word: Word) -> bool:
    letters = sum(len(w.word) + 1 for w in cue) + len(word.word)
    return letters <= LETTERS and word.end - cue[0].start <= SECONDS and word.start - cue[-1].end < PAUSE


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
