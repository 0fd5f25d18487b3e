"""Word errors against jiwer, the interval against worked cases."""

import jiwer
import numpy as np
import pytest

from stablequant.recognisers.ctc.decoding import divergence
from stablequant.scoring.word_errors import WordErrors, degradation, degradation_interval, word_errors

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


def test_the_same_loss_everywhere_is_certain():
    low, high = degradation_interval(errors(*[2] * 50), errors(*[1] * 50), seed=0)
    assert low == high == pytest.approx(10.0)


def test_interval_has_the_width_of_the_mean_of_a_coin():
    """100 utterances of 10 words, half of them one word worse: 5 points, standard error 0.5 points."""
    low, high = degradation_interval(errors(*[1, 0] * 50), errors(*[0] * 100), seed=0)
    assert low == pytest.approx(5 - 1.96 * 0.5, abs=0.1)
    assert high == pytest.approx(5 + 1.96 * 0.5, abs=0.1)


def test_interval_is_paired_and_seeded():
    """What both get wrong alike does not widen it; the same seed gives the same interval."""
    noise = np.random.default_rng(1).integers(0, 9, 80)
    base = WordErrors(noise, np.full(80, 10))
    same = WordErrors(noise.copy(), np.full(80, 10))
    assert degradation_interval(same, base, seed=3) == (0, 0)
    worse = WordErrors(noise + np.arange(80) % 2, np.full(80, 10))
    assert degradation_interval(worse, base, seed=3) == degradation_interval(worse, base, seed=3)


def test_divergence_by_hand():
    """From (1/2, 1/2) to (1/4, 3/4), in two frames: twice ln 2 / 2 + ln (2/3) / 2."""
    reference = np.log(np.array([[0.5, 0.5]] * 2))
    quantized = np.log(np.array([[0.25, 0.75]] * 2))
    assert divergence(reference, quantized) == pytest.approx(np.log(2) + np.log(2 / 3))
    assert divergence(reference, reference) == 0
