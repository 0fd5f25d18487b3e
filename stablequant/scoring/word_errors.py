"""Word errors of hypotheses, compared with transcripts."""

from dataclasses import dataclass

import jiwer
import numpy as np


@dataclass(frozen=True)
class WordErrors:
    """Word errors by utterance.

    Attributes
    ----------
    errors: substitutions, insertions and deletions, int64 ``(utterances,)``
    words: number of words in the transcript, int64 ``(utterances,)``
    speakers: who speaks, str ``(utterances,)``; None if that is not known of all
    """

    errors: np.ndarray
    words: np.ndarray
    speakers: np.ndarray | None = None

    @property
    def wer(self) -> float:
        """Word error rate in percent."""
        return 100 * float(self.errors.sum()) / float(self.words.sum())

    @property
    def drawn(self) -> str:
        """What the bootstrap draws: ``speakers`` if there are several, otherwise ``utterances``."""
        several = self.speakers is not None and len(np.unique(self.speakers)) > 1
        return "speakers" if several else "utterances"

    def of(self, chosen: np.ndarray) -> "WordErrors":
        """Those of the utterances that are ``chosen``, bool ``(utterances,)``."""
        speakers = None if self.speakers is None else self.speakers[chosen]
        return WordErrors(self.errors[chosen], self.words[chosen], speakers)


def word_errors(references: list[str], hypotheses: list[str]) -> WordErrors:
    """Count substitutions, insertions and deletions of each hypothesis, with jiwer's alignment."""
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
    """WER of ``quantized`` minus WER of ``reference``, in percentage points."""
    return quantized.wer - reference.wer
