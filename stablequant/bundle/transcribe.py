"""Words and their times in recordings of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stablequant.bundle.write_bundle import Bundle, read_bundle
from stablequant.corpora.audio import LONGEST, AudioError, normalise, read_audio
from stablequant.corpora.list_utterances import MIN_SAMPLES
from stablequant.engines.folder import max_batch
from stablequant.engines.running import load_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import MEGABYTE
from stablequant.recognisers.ctc.decoding import Infer
from stablequant.recognisers.ctc.vocabulary import Vocabulary

OVERLAP_SECONDS = 2.0  # of two chunks; each leaves the half at its end to its neighbour, which hears what follows


@dataclass(frozen=True)
class Word:
    """A word and when it is heard, in seconds from the recording's beginning."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """What was recognised in one recording of so many ``seconds``."""

    text: str
    seconds: float
    words: list[Word]


class Recogniser:
    """A quantized recogniser, ready to transcribe; made by `load_bundle`.

    Attributes
    ----------
    arithmetic: that quantized layers run in on this machine, ``int8``, ``int8 and bfloat16`` or ``float32``
    """

    def __init__(
        self, bundle: Bundle, infer: Infer, arithmetic: str, batch_mb: float, chunk_seconds: float, most: float
    ) -> None:
        self.bundle = bundle
        self.arithmetic = arithmetic
        self._infer = infer
        self._most = most
        self._memory = bundle.memory
        self._budget = batch_mb * MEGABYTE
        self._chunk_seconds = chunk_seconds

    def transcribe(self, source: Path | str | BinaryIO) -> Transcript:
        """Recognise a file that soundfile reads, or an open binary file.

        Other rates are resampled and several channels mixed. Recordings longer than a chunk are cut into several that
        overlap, so that no word is cut.

        Raises
        ------
        StableQuantError
            when the audio is missing, damaged, empty, or holds numbers that are not finite.
        """
        name = source if isinstance(source, Path | str) else "standard input"
        front_end = self.bundle.front_end
        try:
            samples = read_audio(Path(source) if isinstance(source, str) else source, front_end.sample_rate, mix=True)
        except AudioError as error:
            raise StableQuantError(name, str(error), "give a recording that can be read") from error
        if not len(samples.samples):
            raise StableQuantError(name, "no audio in it", "give a recording that can be read")
        logits = self._logits(samples.samples)
        words = words_of(logits, front_end.vocabulary, self._memory.hop / front_end.sample_rate)
        text = " ".join(word.word for word in words)
        return Transcript(text, len(samples.samples) / front_end.sample_rate, words)

    def _logits(self, samples: np.ndarray) -> np.ndarray:
        """CTC logits of the whole recording, ``(frames, classes)``."""
        rate, hop = self.bundle.front_end.sample_rate, self._memory.hop
        chunks = cut(max(len(samples), MIN_SAMPLES), int(self._chunk_seconds * rate), int(OVERLAP_SECONDS * rate), hop)
        padded = np.pad(samples, (0, max(0, MIN_SAMPLES - len(samples))))
        rows = max(1, int(min(self._most, self._budget / self._memory.bytes(chunks[0].stop - chunks[0].start))))
        parts = []
        for length, group in groupby(chunks, key=lambda chunk: chunk.stop - chunk.start):
            listed = list(group)
            for first in range(0, len(listed), rows):
                found = self._infer(self._prepared(padded, listed[first : first + rows], length))
                if not np.isfinite(found).all():
                    raise StableQuantError(self.bundle.folder, "its network gives no finite numbers", "build it again")
                parts += list(found)
        return np.concatenate([part[kept] for part, kept in zip(parts, kept_frames(chunks, parts, hop), strict=True)])

    def _prepared(self, samples: np.ndarray, chunks: Sequence[slice], length: int) -> np.ndarray:
        front_end = self.bundle.front_end
        audio = np.empty((len(chunks), length), dtype=np.float32)
        for row, chunk in zip(audio, chunks, strict=True):
            row[:] = normalise(samples[chunk], front_end.epsilon) if front_end.do_normalize else samples[chunk]
        return audio


def load_bundle(
    folder: Path | str,
    threads: int = 0,
    batch_mb: float = 400,
    chunk_seconds: float = 30,
    backend: str = "openvino",
) -> Recogniser:
    """One engine of a bundle; on a CPU ``threads`` 0 takes all cores.

    ``batch_mb`` megabytes may be taken by the hidden values of chunks that are recognised at once; ``chunk_seconds``,
    more than twice the overlap, is best about as long as the recogniser's training utterances.
    """
    if not 2 * OVERLAP_SECONDS < chunk_seconds <= LONGEST:
        raise ValueError(f"chunks of {chunk_seconds} s; take more than {2 * OVERLAP_SECONDS:g} and at most {LONGEST}")
    bundle = read_bundle(Path(folder))
    engine = bundle.engine(backend)
    infer, arithmetic = load_engine(engine, threads)
    return Recogniser(bundle, infer, arithmetic, batch_mb, chunk_seconds, max_batch(engine))


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
