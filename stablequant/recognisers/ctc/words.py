"""Chunks of long recordings, and words with their times from CTC logits."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.family import Word


def cut(samples: int, chunk: int, overlap: int, hop: int) -> list[slice]:
    """Chunks of at most ``chunk`` samples that overlap by ``overlap``, each beginning at a frame.

    The last one begins earlier rather than being short, so that, a frame more or less, all but a recording's only one
    are equally long.
    """
    if samples <= chunk:
        return [slice(0, samples)]
    step = (chunk - overlap) // hop * hop
    starts = list(range(0, samples - chunk, step))
    last = -(-(samples - chunk) // hop) * hop
    return [*(slice(start, start + chunk) for start in starts), slice(last, samples)]


def kept_frames(chunks: Sequence[slice], parts: Sequence[np.ndarray], hop: int) -> Iterator[slice]:
    """Frames of each part that count: of two parts that overlap each gives up half of what both heard."""
    starts = [chunk.start // hop for chunk in chunks]
    ends = [start + len(part) for start, part in zip(starts, parts, strict=True)]
    seams = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), ends[-1]]
    for start, (first, last) in zip(starts, pairwise(seams), strict=True):
        yield slice(first - start, last - start)


def words_of(logits: np.ndarray, vocabulary: Vocabulary, frame_seconds: float) -> list[Word]:
    """Words on the best path through ``logits`` ``(frames, classes)``, each from its first token to its last."""
    runs = [(index, sum(1 for _ in group)) for index, group in groupby(logits.argmax(axis=-1).tolist())]
    ends = accumulate(length for _, length in runs)
    words: list[Word] = []
    letters, start, end = "", 0, 0
    for (index, length), stop in zip(runs, ends, strict=True):
        token = vocabulary.written(index)
        if token and token != vocabulary.delimiter:
            start = start if letters else stop - length
            letters, end = letters + token, stop
        if letters and (token == vocabulary.delimiter or (token and vocabulary.delimiter is None)):
            words.append(Word(letters, round(start * frame_seconds, 3), round(end * frame_seconds, 3)))
            letters = ""
    if letters:
        words.append(Word(letters, round(start * frame_seconds, 3), round(end * frame_seconds, 3)))
    return words
