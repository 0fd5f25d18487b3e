"""Word errors against jiwer."""

import jiwer
import numpy as np
import pytest

from stablequant.scoring.word_errors import WordErrors, degradation, word_errors

REFERENCES = ["the cat sat", "on the mat", "hello world again", "one"]
HYPOTHESES = ["the cat sat", "on mat", "hello there word again now", ""]


def test_errors_by_utterance_add_up_to_jiwers_rate():
    measured = word_errors(REFERENCES, HYPOTHESES)
    assert measured.errors.tolist() == [0, 1, 3, 1]
    assert measured.words.tolist() == [3, 3, 3, 1]
    assert measured.wer == pytest.approx(100 * jiwer.wer(REFERENCES, HYPOTHESES))


def errors(*values: int) -> WordErrors:
    return WordErrors(np.array(values), np.full(len(values), 10))


def test_degradation_in_points():
    assert degradation(errors(2, 0, 1, 1), errors(0, 0, 1, 1)) == pytest.approx(5.0)
