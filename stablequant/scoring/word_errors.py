"""Word errors, and how sure a difference of two word error rates is."""

from dataclasses import dataclass

import jiwer
import numpy as np

RESAMPLES = 10_000
CHUNK = 2**22  # utterances drawn at once


@dataclass(frozen=True)
class WordErrors:
    """Per utterance: ``errors`` and ``words`` of the reference, int64 ``(utterances,)``."""

    errors: np.ndarray
    words: np.ndarray

    @property
    def wer(self) -> float:
        """Word error rate in percent."""
        return 100 * float(self.errors.sum()) / float(self.words.sum())


def word_errors(references: list[str], hypotheses: list[str]) -> WordErrors:
    """Substitutions, insertions and deletions of each hypothesis (jiwer's alignment)."""
    measured = jiwer.process_words(references, hypotheses)
    errors = [
        sum(
            max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
            if chunk.type != "equal"
        )
        for chunks in measured.alignments
    ]
    return WordErrors(np.array(errors), np.array([len(words) for words in measured.references]))


def degradation(quantized: WordErrors, reference: WordErrors) -> float:
    """WER lost against the reference, in percentage points."""
    return quantized.wer - reference.wer


def degradation_interval(quantized: WordErrors, reference: WordErrors, seed: int) -> tuple[float, float]:
    """95 % interval of the degradation, in points: paired bootstrap over utterances (Bisani and Ney, ICASSP 2004)."""
    difference = quantized.errors - reference.errors
    draws = np.random.default_rng(seed)
    points = []
    for size in _chunks(RESAMPLES, max(1, CHUNK // len(difference))):
        drawn = draws.integers(len(difference), size=(size, len(difference)))
        points.append(100 * difference[drawn].sum(axis=1) / reference.words[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(points), [2.5, 97.5])
    return float(low), float(high)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
