"""A CTC recogniser that runs as an engine: one graph computes logits, which are decoded by best path or beam search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.front_end import INPUT, FrontEnd
from stablequant.recognisers.ctc.word_search import WordSearch
from stablequant.recognisers.ctc.words import best_path, cut_chunks, frames_to_keep, words_of
from stablequant.recognisers.decoder import BeamSearch, NotFiniteError, Word
from stablequant.recognisers.family import Limits, Network, Signature, Tensor
from stablequant.recognisers.sizes import Footprint

GRAPH = "model"  # the only graph of a CTC recogniser
OUTPUT = "logits"
OVERLAP_SECONDS = 2.0  # overlap of neighbouring chunks; each chunk's words count up to the middle of the overlap
SIGNATURE = Signature(
    inputs={INPUT: Tensor(("batch", "samples"))},
    outputs={OUTPUT: Tensor(("batch", "frames", "classes"))},
    warm_up={"batch": 1, "samples": 16_000},
)


def limits_of(samples: Sequence[int], shortest: int, longest: int) -> dict[str, Limits]:
    """Limits of the axis ``samples``, tuned for the median of the lengths ``samples``.

    An engine takes no audio outside its limits, so they are wide: from ``shortest``, the shortest audio that gives a
    frame, to ``longest`` or the longest of ``samples``.
    """
    return {"samples": Limits(min(shortest, *samples), int(median(samples)), max(longest, *samples))}


class CtcDecoder:
    """Recognises with the network of a CTC model, see `stablequant.recognisers.decoder.Decoder`.

    ``memory`` is the memory for the hidden values; its ``hop`` is the number of samples per frame. Words are those of
    the best path, or found by ``search``.
    """

    def __init__(
        self, front_end: FrontEnd, memory: Footprint, network: Network, search: WordSearch | None = None
    ) -> None:
        self._front_end, self._memory, self._network, self._search = front_end, memory, network, search

    def searching(self, settings: BeamSearch) -> CtcDecoder:
        """The same recogniser with a beam search, see `stablequant.recognisers.decoder.SearchingDecoder`."""
        search = WordSearch(self._front_end.vocabulary, settings)
        return CtcDecoder(self._front_end, self._memory, self._network, search)

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float = math.inf) -> list[Batch]:
        """Batches of equally long utterances, because engines have no masks for padding."""
        return make_batches(utterances, self._memory, budget, most=most)

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Hypotheses for recordings of one length, each float32 ``(samples,)``; raise `NotFiniteError`."""
        logits = self._logits(audio)
        if self._search is not None:
            return [self._search.text(row) for row in logits]
        return [self._front_end.vocabulary.decode(row.argmax(axis=-1)) for row in logits]

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words in a recording of any length, see `transcribe_all`."""
        (words,) = self.transcribe_all([samples], chunk_seconds, budget, most)
        return words

    def transcribe_all(
        self, recordings: Sequence[np.ndarray], chunk_seconds: float, budget: float, most: float
    ) -> list[list[Word]]:
        """Words in recordings of any length, each float32 ``(samples,)``.

        A recording longer than ``chunk_seconds`` is cut into chunks that overlap, so that no word is cut. Chunks of one
        length are recognised together, whichever recording they are of.

        Raises
        ------
        NotFiniteError
            when the network's output for a recording contains NaN or infinity.
        ValueError
            when ``chunk_seconds`` is not more than twice the overlap.
        """
        if not chunk_seconds > 2 * OVERLAP_SECONDS:
            raise ValueError(f"chunks of {chunk_seconds} s; take more than {2 * OVERLAP_SECONDS:g}")
        frame_seconds = self._memory.hop / self._front_end.sample_rate
        limits = chunk_seconds, budget, most
        if self._search is not None:
            found = self._whole(recordings, lambda logits: (logits,), *limits)
            return [self._search.words(logits, frame_seconds) for (logits,) in found]
        found = self._whole(recordings, best_path, *limits)  # hours of logits of a large vocabulary are gigabytes
        return [words_of(path, likely, self._front_end.vocabulary, frame_seconds) for path, likely in found]

    def _whole(
        self,
        recordings: Sequence[np.ndarray],
        kept: Callable[[np.ndarray], tuple[np.ndarray, ...]],
        chunk_seconds: float,
        budget: float,
        most: float,
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """What is ``kept`` of the logits ``(frames, classes)`` of each whole recording, each ``(frames, ...)``."""
        rate, shortest, hop = self._front_end.sample_rate, self._front_end.shortest_samples, self._memory.hop
        padded = [np.pad(samples, (0, max(0, shortest - len(samples)))) for samples in recordings]
        cuts = [
            cut_chunks(len(samples), int(chunk_seconds * rate), int(OVERLAP_SECONDS * rate), hop) for samples in padded
        ]
        pieces = [(number, chunk) for number, chunks in enumerate(cuts) for chunk in chunks]
        parts: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}  # by recording and start of the chunk
        by_length: dict[int, list[tuple[int, slice]]] = {}
        for number, chunk in pieces:
            by_length.setdefault(chunk.stop - chunk.start, []).append((number, chunk))
        for length, listed in by_length.items():
            rows = max(1, int(min(most, budget / self._memory.bytes(length))))
            for first in range(0, len(listed), rows):
                batch = listed[first : first + rows]
                try:
                    found = self._logits([padded[number][chunk] for number, chunk in batch])
                except NotFiniteError as error:
                    raise NotFiniteError(batch[error.row][0]) from error
                for (number, chunk), logits in zip(batch, found, strict=True):
                    parts[number, chunk.start] = kept(logits)
        for number, chunks in enumerate(cuts):
            own = [parts[number, chunk.start] for chunk in chunks]
            counted = list(frames_to_keep(chunks, [part[0] for part in own], hop))
            yield tuple(
                np.concatenate([part[frames] for part, frames in zip(values, counted, strict=True)])
                for values in zip(*own, strict=True)
            )

    def _logits(self, audio: Sequence[np.ndarray]) -> np.ndarray:
        """Logits ``(recordings, frames, classes)`` of recordings of one length, each ``(samples,)``."""
        found = self._network(self._front_end.inputs(audio))[OUTPUT]
        for row, logits in enumerate(found):
            if not np.isfinite(logits).all():
                raise NotFiniteError(row)
        return found
