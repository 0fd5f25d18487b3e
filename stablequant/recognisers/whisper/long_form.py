"""Recordings of any length, window by window with timestamps, as OpenAI's published code transcribes them.

Each window starts where the last segment of the previous one ended. It is decoded greedily, and anew with a higher
temperature if its text repeats itself or is unlikely. Unlike there, earlier text is not given to the next window:
that carries errors and repetitions from window to window.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stablequant.recognisers.decoder import Word
from stablequant.recognisers.whisper.front_end import WITHOUT_SPACES, FrontEnd
from stablequant.recognisers.whisper.timestamps import Segment, TimeTokens, allowed_with_times, split_segments

SPACE = "Ġ"  # how byte-level tokenizers write a space before a word

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
    """Writes one window's text: chooses tokens by the rules of timestamps, and remembers how likely they were.

    Without ``times`` the text has no timestamps. ``log_probabilities`` are those of the tokens written so far.
    """

    def __init__(
        self, front_end: FrontEnd, times: TimeTokens | None, temperature: float, draw: np.random.Generator
    ) -> None:
        self._front_end, self._times = front_end, times
        self._temperature, self._draw = temperature, draw
        self.log_probabilities: list[float] = []

    def choose(self, tokens: Sequence[int], scores: np.ndarray) -> int:
        """The token that follows ``tokens``, by its ``scores`` ``(classes,)``."""
        if self._times is None:
            allowed = self._front_end.allowed(scores, first=not tokens)
        else:
            allowed = allowed_with_times(self._front_end, self._times, scores, tokens)
        token = int(allowed.argmax())
        if self._temperature:
            token = int(self._draw.choice(len(allowed), p=_softmax(allowed / self._temperature)))
        self.log_probabilities.append(float(np.log(_softmax(allowed)[token])))
        return token

    @property
    def log_probability(self) -> float:
        """Mean of the tokens written so far."""
        return float(np.mean(self.log_probabilities))


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
        found = _decoded(front_end, encode(np.pad(part, ((0, 0), (0, full - part.shape[1])))), fallback, draw)
        if found is None:
            seek += frames
            continue
        tokens, likely = found
        segments, onward = split_segments(times, tokens, frames) if times else ([Segment(0, frames, tokens)], frames)
        for segment in segments:
            yield seek, replace(segment, log_probabilities=likely[: len(segment.tokens)])
            likely = likely[len(segment.tokens) :]
        seek += min(onward, frames)


def _decoded(
    front_end: FrontEnd, decode: Decode, fallback: Fallback, draw: np.random.Generator
) -> tuple[list[int], list[float]] | None:
    """Tokens of a window without the end of the text, and their log probabilities; None if nobody speaks in it."""
    times = front_end.times
    for temperature in fallback.temperatures if times else (0.0,):
        writer = Writer(front_end, times, temperature, draw)
        tokens, scores = decode(times.prompt if times else front_end.prompt, writer.choose)
        unlikely = writer.log_probability < fallback.least_log_probability
        silent = 0.0 if times is None or times.no_speech is None else _softmax(scores[0])[times.no_speech]
        if unlikely and silent > fallback.most_no_speech:
            return None
        if not unlikely and compression(front_end.text(tokens)) <= fallback.most_compression:
            break
    written = len(tokens) - (tokens[-1] == front_end.end)
    return tokens[:written], writer.log_probabilities[:written]


def compression(text: str) -> float:
    """Bytes of ``text`` over its bytes compressed by zlib; high if it repeats itself."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def words_of(front_end: FrontEnd, segment: Segment, start: float, end: float) -> list[Word]:
    """The words of a segment from ``start`` to ``end`` (seconds).

    The confidence of a word is the geometric mean of its tokens' probabilities; where tokens and words do not fit,
    as in languages without spaces, it is that of the segment. There a segment without spaces is one word.
    Without timestamps a window takes the place of a segment, and its first word begins none.
    """
    apart: list[list[float]] = []
    for token, likely in zip(segment.tokens, segment.log_probabilities, strict=True):
        if token < front_end.end:
            if not apart or str(front_end.tokenizer.id_to_token(token)).startswith(SPACE):
                apart.append([])
            apart[-1].append(likely)
    words = front_end.text(segment.tokens).split()
    if len(apart) != len(words):
        apart = [[likely for part in apart for likely in part]] * len(words)
    found = spread(words, start, end, [round(float(np.exp(np.mean(part))), 4) for part in apart])
    if found:
        joined = front_end.language in WITHOUT_SPACES and not _begins_with_space(front_end, segment.tokens)
        found[0] = replace(found[0], spaced=not joined, begins_segment=front_end.times is not None)
    return found


def _begins_with_space(front_end: FrontEnd, tokens: Sequence[int]) -> bool:
    first = next(token for token in tokens if token < front_end.end)
    return str(front_end.tokenizer.id_to_token(first)).startswith(SPACE)


def spread(words: Sequence[str], start: float, end: float, confidences: Sequence[float]) -> list[Word]:
    """``words`` from ``start`` to ``end`` (seconds), each with a share by its number of characters."""
    ends = np.cumsum([len(word) for word in words])
    places = start + (end - start) * np.concatenate([[0], ends]) / max(1, sum(map(len, words)))
    times = [round(float(place), 3) for place in places]
    return [Word(*word) for word in zip(words, times, times[1:], confidences, strict=False)]


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    found: np.ndarray = powers / powers.sum()
    return found
