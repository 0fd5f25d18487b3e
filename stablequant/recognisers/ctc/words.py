"""Chunks of long recordings, and words with their times from CTC logits."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise

import numpy as np

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.word_marks import IDEOGRAPHS
from stablequant.recognisers.decoder import Word


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

    ``parts`` are ``(frames, ...)``, computed from ``chunks``, and ``hop`` is the number of samples per frame.
    """
    starts = [chunk.start // hop for chunk in chunks]
    ends = [start + len(part) for start, part in zip(starts, parts, strict=True)]
    seams = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), ends[-1]]
    for start, (first, last) in zip(starts, pairwise(seams), strict=True):
        yield slice(first - start, last - start)


def best_path(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class of each frame of ``logits`` ``(frames, classes)``, and the logarithm of its posterior."""
    path = logits.argmax(axis=-1)
    return path, log_posteriors(logits)[np.arange(len(path)), path]


def words_of(path: np.ndarray, likely: np.ndarray, vocabulary: Vocabulary, frame_seconds: float) -> list[Word]:
    """Words on the best ``path`` of a recording, whose frames are as ``likely``, see `best_path`; both ``(frames,)``.

    A word lasts from the start of its first token to the end of its last token. Its confidence is the geometric mean of
    the posteriors of its tokens, over all frames in which the best path stays on one of them; frames of the blank do
    not count. ``frame_seconds`` is the duration of a frame.
    """
    runs = [(index, sum(1 for _ in group)) for index, group in groupby(path.tolist())]
    ends = accumulate(length for _, length in runs)
    words: list[Word] = []
    letters: str = ""
    tokens: list[slice] = []

    def word() -> Word:
        heard = np.concatenate([likely[frames] for frames in tokens])
        return word_on(letters, heard, tokens[0].start, tokens[-1].stop, frame_seconds)

    for (index, length), stop in zip(runs, ends, strict=True):
        for number, text in enumerate(vocabulary.written(index).split(" ")):
            if number > 0 and letters:  # behind a space
                words.append(word())
                letters, tokens = "", []
            if text:
                letters += text
                tokens.append(slice(stop - length, stop))
    if letters:
        words.append(word())
    return words


def word_on(letters: str, heard: np.ndarray, start: int, stop: int, frame_seconds: float) -> Word:
    """The word ``letters`` from the frame ``start`` up to ``stop``.

    ``heard`` holds the logarithm of its token's posterior for each frame that has one. Before a Chinese character or
    kana there is no space.
    """
    confidence = round(float(np.exp(heard.mean(dtype=np.float64))), 4)
    times = round(start * frame_seconds, 3), round(stop * frame_seconds, 3)
    return Word(letters, *times, confidence, spaced=IDEOGRAPHS.match(letters) is None)


def log_posteriors(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the posteriors of each frame, ``(frames, classes)``, from ``logits`` of this shape."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
