"""Chunks of long recordings, and words with their times from CTC logits."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.family import Word


def cut_chunks(samples: int, chunk: int, overlap: int, hop: int) -> list[slice]:
    """Cut ``samples`` samples into chunks of at most ``chunk`` samples. Each chunk starts at a frame.

    Neighbouring chunks overlap by ``overlap`` samples. The last chunk is not shorter than the others: it starts earlier
    and overlaps more. So all chunks have the same length, up to one frame, except a single short chunk. ``hop`` is the
    number of samples per frame.
    """
    if samples <= chunk:
        return [slice(0, samples)]
    step = (chunk - overlap) // hop * hop
    starts = list(range(0, samples - chunk, step))
    last = -(-(samples - chunk) // hop) * hop
    return [*(slice(start, start + chunk) for start in starts), slice(last, samples)]


def frames_to_keep(chunks: Sequence[slice], parts: Sequence[np.ndarray], hop: int) -> Iterator[slice]:
    """The frames of each part that count. Two neighbouring parts share their overlap: each keeps half of it.

    ``parts`` are the logits ``(frames, classes)`` of ``chunks``, and ``hop`` is the number of samples per frame.
    """
    starts = [chunk.start // hop for chunk in chunks]
    ends = [start + len(part) for start, part in zip(starts, parts, strict=True)]
    seams = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), ends[-1]]
    for start, (first, last) in zip(starts, pairwise(seams), strict=True):
        yield slice(first - start, last - start)


def words_of(logits: np.ndarray, vocabulary: Vocabulary, frame_seconds: float) -> list[Word]:
    """Words on the best path through ``logits`` ``(frames, classes)``.

    A word lasts from the start of its first token to the end of its last token. ``frame_seconds`` is the duration of a
    frame.
    """
    runs = [(index, sum(1 for _ in group)) for index, group in groupby(logits.argmax(axis=-1).tolist())]
    ends = accumulate(length for _, length in runs)
    words: list[Word] = []
    letters, start, end = "", 0, 0
    for (index, length), stop in zip(runs, ends, strict=True):
        for number, text in enumerate(vocabulary.written(index).split(" ")):
            if number > 0 and letters:  # behind a space
                words.append(Word(letters, round(start * frame_seconds, 3), round(end * frame_seconds, 3)))
                letters = ""
            if text:
                start = start if letters else stop - length
                letters, end = letters + text, stop
    if letters:
        words.append(Word(letters, round(start * frame_seconds, 3), round(end * frame_seconds, 3)))
    return words
