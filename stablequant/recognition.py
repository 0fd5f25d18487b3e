"""Recognising a split with anything that turns audio into CTC logits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from stablequant.front_end import FrontEnd
from stablequant.metrics import WordErrors, word_errors
from stablequant.progress import progress
from stablequant.utterances import Utterance, equal_length_batches, load_batch
from stablequant.vocabulary import Vocabulary

Infer = Callable[[np.ndarray], np.ndarray]  # float32 (batch, samples) -> logits, float32 (batch, frames, classes)


def audio_batches(
    utterances: list[Utterance], front_end: FrontEnd, batch_seconds: float, label: str
) -> Iterator[tuple[list[Utterance], np.ndarray]]:
    """Each batch with its audio ``(utterances, samples)``, short ones first, showing progress as it is consumed."""
    with progress(total=len(utterances), label=label) as recognised:
        for batch in equal_length_batches(utterances, batch_seconds, front_end.sample_rate):
            yield batch, load_batch(batch, front_end)
            recognised.update(len(batch))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the posteriors over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@dataclass
class Recognition:
    """Hypotheses and log posteriors ``(frames, classes)`` by the utterance's path, as batches come in."""

    vocabulary: Vocabulary
    hypotheses: dict[str, str] = field(default_factory=dict)
    log_posteriors: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, batch: list[Utterance], logits: np.ndarray) -> None:
        """Decode the best path of ``logits`` ``(utterances, frames, classes)``."""
        for utterance, rows in zip(batch, log_softmax(logits), strict=True):
            self.hypotheses[utterance.path] = self.vocabulary.decode(rows.argmax(axis=-1))
            self.log_posteriors[utterance.path] = rows

    def score(self, utterances: list[Utterance]) -> WordErrors:
        """Word errors in the order of ``utterances``."""
        return word_errors([u.transcript for u in utterances], [self.hypotheses[u.path] for u in utterances])


def recognise(
    infer: Infer, utterances: list[Utterance], front_end: FrontEnd, batch_seconds: float, label: str
) -> Recognition:
    """Recognise ``utterances`` by best path."""
    recognition = Recognition(front_end.vocabulary)
    for batch, audio in audio_batches(utterances, front_end, batch_seconds, label):
        recognition.add(batch, infer(audio))
    return recognition


def divergence(reference: dict[str, np.ndarray], quantized: dict[str, np.ndarray]) -> float:
    """Kullback-Leibler divergence of quantized from reference posteriors in nats, mean over all frames."""
    total = frames = 0.0
    for utterance, expected in reference.items():
        total += float((np.exp(expected) * (expected - quantized[utterance])).sum())
        frames += len(expected)
    return total / frames
