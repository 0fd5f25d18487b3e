"""Recordings of any length, window by window with timestamps, as OpenAI's published code transcribes them.

Each window starts where the last segment of the previous one ended. It is decoded greedily, and anew with a higher
temperature if its text repeats itself or is unlikely. Unlike there, earlier text is not given to the next window:
that carries errors and repetitions from window to window.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stablequant.recognisers.family import Word
from stablequant.recognisers.whisper.front_end import FrontEnd
from stablequant.recognisers.whisper.timestamps import Segment, TimeTokens, allowed_with_times, split_segments

Choose = Callable[[Sequence[int], np.ndarray], int]  # the tokens so far and the scores of what follows -> next token


@dataclass(frozen=True)
class Fallback:
    """When a window is decoded anew. The defaults are OpenAI's.

    Attributes
    ----------
    temperatures: tried in turn; 0 is greedy, with the others tokens are drawn
    most_compression: a text whose bytes zlib makes smaller by more than this factor repeats itself
    least_log_probability: mean of the tokens, below which a text is unlikely
    most_no_speech: probability of the no-speech token, above which an unlikely text is left out
    """

    temperatures: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    most_compression: float = 2.4
    least_log_probability: float = -1.0
    most_no_speech: float = 0.6


class Writer:
    """Writes one window's text: chooses tokens by the rules of timestamps, and remembers how likely they were."""

    def __init__(self, front_end: FrontEnd, times: TimeTokens, temperature: float, draw: np.random.Generator) -> None:
        self._front_end, self._times = front_end, times
        self._temperature, self._draw = temperature, draw
        self._log_probabilities: list[float] = []

    def choose(self, tokens: Sequence[int], scores: np.ndarray) -> int:
        """The token that follows ``tokens``, by its ``scores`` ``(classes,)``."""
        allowed = allowed_with_times(self._front_end, self._times, scores, tokens)
        token = int(allowed.argmax())
        if self._temperature:
            token = int(self._draw.choice(len(allowed), p=_softmax(allowed / self._temperature)))
        self._log_probabilities.append(float(np.log(_softmax(allowed)[token])))
        return token

    @property
    def log_probability(self) -> float:
        """Mean of the tokens written so far."""
        return float(np.mean(self._log_probabilities))


Decode = Callable[[Sequence[int], Choose], tuple[list[int], np.ndarray]]  # prompt, choice -> tokens, scores of prompt
Encode = Callable[[np.ndarray], Decode]  # log-mel features of a window (bins, frames) -> how its texts are decoded


def transcribe_windows(
    front_end: FrontEnd, samples: np.ndarray, window: int, encode: Encode, fallback: Fallback
) -> Iterator[tuple[int, Segment]]:
    """Segments of a recording, each with the frame at which its window starts.

    Parameters
    ----------
    samples: float32 ``(samples,)``, of any length
    window: frames of the recording that are decoded at once, at most those of a window
    encode, fallback: see there
    """
    times = front_end.times
    length = len(samples) // front_end.hop
    full = front_end.window // front_end.hop
    features = front_end.features(samples)
    draw = np.random.default_rng(0)  # the same words each time
    seek = 0
    while seek < length:
        frames = min(window, length - seek)
        part = features[:, seek : seek + window]
        tokens = _decoded(front_end, encode(np.pad(part, ((0, 0), (0, full - part.shape[1])))), fallback, draw)
        if tokens is None:
            seek += frames
            continue
        segments, onward = split_segments(times, tokens, frames) if times else ([Segment(0, frames, tokens)], frames)
        for segment in segments:
            yield seek, segment
        seek += min(onward, frames)


def _decoded(
    front_end: FrontEnd, decode: Decode, fallback: Fallback, draw: np.random.Generator
) -> Sequence[int] | None:
    """Tokens of a window without the end of the text; None if nobody speaks in it."""
    times = front_end.times
    if times is None:
        tokens, _ = decode(
            front_end.prompt, lambda tokens, scores: int(front_end.allowed(scores, first=not tokens).argmax())
        )
        return _without_end(front_end, tokens)
    for temperature in fallback.temperatures:
        writer = Writer(front_end, times, temperature, draw)
        tokens, scores = decode(times.prompt, writer.choose)
        unlikely = writer.log_probability < fallback.least_log_probability
        silent = 0.0 if times.no_speech is None else float(_softmax(scores[0])[times.no_speech])
        if unlikely and silent > fallback.most_no_speech:
            return None
        if not unlikely and compression(front_end.text(tokens)) <= fallback.most_compression:
            break
    return _without_end(front_end, tokens)


def _without_end(front_end: FrontEnd, tokens: list[int]) -> list[int]:
    return tokens[:-1] if tokens[-1:] == [front_end.end] else tokens


def compression(text: str) -> float:
    """Bytes of ``text`` over its bytes compressed by zlib; high if it repeats itself."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def spread(text: str, start: float, end: float) -> list[Word]:
    """The words of a segment from ``start`` to ``end`` (seconds), each with a share by its number of characters."""
    words = text.split()
    ends = np.cumsum([len(word) for word in words])
    places = start + (end - start) * np.concatenate([[0], ends]) / max(1, sum(map(len, words)))
    return [Word(word, round(float(places[i]), 3), round(float(places[i + 1]), 3)) for i, word in enumerate(words)]


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    found: np.ndarray = powers / powers.sum()
    return found
