"""Timestamps in Whisper's texts: which tokens may follow, and the segments of a text.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, sections 2.3 and 4.5, and OpenAI's
published code, whose rules these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stablequant.recognisers.whisper.front_end import FrontEnd

FRAMES = 2  # frames of the log-mel features from one timestamp to the next


@dataclass(frozen=True)
class TimeTokens:
    """Tokens that write times.

    Attributes
    ----------
    prompt: tokens with which a text with timestamps begins
    zero: token of 0.00 s; each further token stands for 0.02 s more
    last: token of the window's end
    latest_first: largest first timestamp, in steps of 0.02 s; None without a limit
    no_speech: token whose probability behind the start token says that nobody speaks; None if there is none
    """

    prompt: Sequence[int]
    zero: int
    last: int
    latest_first: int | None
    no_speech: int | None


@dataclass(frozen=True)
class Segment:
    """A part of a window's text.

    Attributes
    ----------
    start, end: in frames of the log-mel features, from the beginning of the window
    tokens: its text, timestamps included
    log_probabilities: of the tokens
    """

    start: int
    end: int
    tokens: Sequence[int]
    log_probabilities: Sequence[float] = ()


def allowed_with_times(front_end: FrontEnd, times: TimeTokens, scores: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """``scores`` ``(classes,)`` of what follows ``tokens``, with -inf where the rules of timestamps forbid it.

    A text begins with a timestamp. Timestamps never go back, and come in pairs: the end of a segment and the start of
    the next one. If all timestamps together are more likely than any other token, a timestamp follows.
    """
    kept = front_end.allowed(scores, first=not tokens).astype(np.float64)
    kept[times.zero - 1] = -np.inf  # the token of texts without timestamps
    kept[times.last + 1 :] = -np.inf
    timed = [token >= times.zero for token in tokens[-2:]]
    written = [token for token in tokens if token >= times.zero]
    ended = bool(timed) and timed[-1] and len(timed) > 1 and not timed[0]
    if ended:  # the next segment starts, or the text ends
        kept[: front_end.end] = -np.inf
    elif timed and timed[-1]:  # a segment started
        kept[times.zero :] = -np.inf
    if written:
        kept[times.zero : written[-1] + (0 if ended else 1)] = -np.inf
    if not tokens:
        kept[: times.zero] = -np.inf
        if times.latest_first is not None:
            kept[times.zero + times.latest_first + 1 :] = -np.inf
    together = _log_sum(kept[times.zero :])
    if together > kept[: times.zero].max():
        kept[: times.zero] = -np.inf
    return kept


def split_segments(times: TimeTokens, tokens: Sequence[int], frames: int) -> tuple[list[Segment], int]:
    """The segments of a window's text, and how many frames to go on to the next window.

    Two timestamps in a row end a segment. What is written after the last pair is unfinished: the next window starts at
    the pair, unless the text ends with a single timestamp, which says that nothing is spoken afterwards.

    Parameters
    ----------
    tokens: the text without its end
    frames: of the recording in this window
    """
    timed = [token >= times.zero for token in tokens]
    cuts = [i for i in range(1, len(tokens)) if timed[i - 1] and timed[i]]
    if not cuts:
        written = [token for token in tokens if token >= times.zero]
        end = FRAMES * (written[-1] - times.zero) if written and written[-1] > times.zero else frames
        return [Segment(0, end, tokens)], frames
    finished = timed[-2:] == [False, True]
    if finished:
        cuts.append(len(tokens))
    segments = [
        Segment(FRAMES * (tokens[first] - times.zero), FRAMES * (tokens[behind - 1] - times.zero), tokens[first:behind])
        for first, behind in zip([0, *cuts], cuts, strict=False)
    ]
    return segments, frames if finished else segments[-1].end


def _log_sum(logarithms: np.ndarray) -> float:
    """Logarithm of the sum of the exponentials."""
    highest = logarithms.max()
    return float(highest + np.log(np.exp(logarithms - highest).sum())) if np.isfinite(highest) else -np.inf
