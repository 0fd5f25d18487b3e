"""A CTC recogniser that runs as an engine: one graph computes logits, which are decoded by best path."""

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import median

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.front_end import INPUT, FrontEnd
from stablequant.recognisers.ctc.words import cut_chunks, frames_to_keep, words_of
from stablequant.recognisers.family import Limits, Network, NotFiniteError, Signature, Tensor, Word
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
    """Recognises with the network of a CTC model, see `stablequant.recognisers.family.Decoder`.

    ``memory`` is the memory for the hidden values; its ``hop`` is the number of samples per frame.
    """

    def __init__(self, front_end: FrontEnd, memory: Footprint, network: Network) -> None:
        self._front_end, self._memory, self._network = front_end, memory, network

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float = math.inf) -> list[Batch]:
        """Batches of equally long utterances, because engines have no masks for padding."""
        return make_batches(utterances, self._memory, budget, most=most)

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Hypotheses for recordings of one length, each float32 ``(samples,)``; raise `NotFiniteError`."""
        logits = self._logits(audio)
        return [self._front_end.vocabulary.decode(row.argmax(axis=-1)) for row in logits]

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words in a recording of any length, float32 ``(samples,)``.

        A recording longer than ``chunk_seconds`` is cut into chunks that overlap, so that no word is cut.

        Raises
        ------
        NotFiniteError
            when the network's output contains NaN or infinity.
        ValueError
            when ``chunk_seconds`` is not more than twice the overlap.
        """
        if not chunk_seconds > 2 * OVERLAP_SECONDS:
            raise ValueError(f"chunks of {chunk_seconds} s; take more than {2 * OVERLAP_SECONDS:g}")
        logits = self._whole(samples, chunk_seconds, budget, most)
        return words_of(logits, self._front_end.vocabulary, self._memory.hop / self._front_end.sample_rate)

    def _whole(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> np.ndarray:
        """Logits of the whole recording, ``(frames, classes)``."""
        rate, shortest, hop = self._front_end.sample_rate, self._front_end.shortest_samples, self._memory.hop
        padded = np.pad(samples, (0, max(0, shortest - len(samples))))
        chunks = cut_chunks(len(padded), int(chunk_seconds * rate), int(OVERLAP_SECONDS * rate), hop)
        rows = max(1, int(min(most, budget / self._memory.bytes(chunks[0].stop - chunks[0].start))))
        parts: list[np.ndarray] = []
        for _, group in groupby(chunks, key=lambda chunk: chunk.stop - chunk.start):
            listed = list(group)
            for first in range(0, len(listed), rows):
                parts += list(self._logits([padded[chunk] for chunk in listed[first : first + rows]]))
        return np.concatenate(
            [part[kept] for part, kept in zip(parts, frames_to_keep(chunks, parts, hop), strict=True)]
        )

    def _logits(self, audio: Sequence[np.ndarray]) -> np.ndarray:
        """Logits ``(recordings, frames, classes)`` of recordings of one length, each ``(samples,)``."""
        found = self._network(self._front_end.inputs(audio))[OUTPUT]
        for row, logits in enumerate(found):
            if not np.isfinite(logits).all():
                raise NotFiniteError(row)
        return found
