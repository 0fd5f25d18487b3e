"""Recognising a split with anything that turns audio into CTC logits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from stablequant.corpora.list_utterances import Utterance
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import Batch
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.scoring.word_errors import WordErrors, word_errors

Infer = Callable[[np.ndarray], np.ndarray]  # float32 (batch, samples) -> logits, float32 (batch, frames, classes)


@dataclass
class Recognition:
    """Hypotheses by the utterance's path, as batches come in."""

    vocabulary: Vocabulary
    hypotheses: dict[str, str] = field(default_factory=dict)

    def add(self, batch: Batch, logits: Iterable[np.ndarray]) -> None:
        """Decode the best path of each utterance's logits ``(frames, classes)``, which must be finite."""
        for utterance, rows in zip(batch, logits, strict=True):
            if not np.isfinite(rows).all():
                raise StableQuantError(
                    utterance.path, "what the network makes of it are no finite numbers", "take an intact checkpoint"
                )
            self.hypotheses[utterance.path] = self.vocabulary.decode(rows.argmax(axis=-1))

    def score(self, utterances: list[Utterance]) -> WordErrors:
        """Word errors in the order of ``utterances``."""
        return word_errors([u.transcript for u in utterances], [self.hypotheses[u.path] for u in utterances])


def recognise(infer: Infer, batches: Iterable[tuple[Batch, np.ndarray]], vocabulary: Vocabulary) -> Recognition:
    """Recognise batches and their audio by best path."""
    recognition = Recognition(vocabulary)
    for batch, audio in batches:
        recognition.add(batch, infer(audio))
    return recognition


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Kullback-Leibler divergence of the log posteriors ``found`` from ``expected``, nats summed over frames."""
    return float((np.exp(expected) * (expected - found)).sum(dtype=np.float64))
