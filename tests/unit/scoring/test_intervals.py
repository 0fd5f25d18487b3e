"""The interval of the degradation against worked cases and a plain bootstrap."""

import numpy as np
import pytest
from scipy import stats

from stablequant.scoring.intervals import RESAMPLES, degradation_interval, widening
from stablequant.scoring.word_errors import WordErrors


def errors(*values: int) -> WordErrors:
    return WordErrors(np.array(values), np.full(len(values), 10))


def test_the_same_loss_everywhere_is_certain():
    low, high = degradation_interval(errors(*[2] * 50), errors(*[1] * 50), seed=0)
    assert low == high == pytest.approx(10.0)


def test_interval_has_the_width_of_the_mean_of_a_coin():
    """100 utterances of 10 words, half of them one word worse: 5 points, standard error 0.5 points."""
    low, high = degradation_interval(errors(*[1, 0] * 50), errors(*[0] * 100), seed=0)
    assert low == pytest.approx(5 - 1.98 * 0.5, abs=0.1)
    assert high == pytest.approx(5 + 1.98 * 0.5, abs=0.1)


def test_few_draws_are_widened_as_the_mean_of_few_normal_values_varies():
    for drawn in (2, 3, 5, 9, 20, 31, 32, 60, 1000):
        expected = stats.t.ppf(0.975, drawn - 1) / stats.norm.ppf(0.975) * np.sqrt(drawn / (drawn - 1))
        assert widening(drawn) == pytest.approx(expected, rel=2e-3)
    assert widening(1) == 1


@pytest.mark.parametrize(("speakers", "least"), [(2, 0.92), (3, 0.92), (5, 0.92), (9, 0.92), (20, 0.92), (None, 0.92)])
def test_the_interval_holds_the_true_loss_about_as_often_as_it_says(speakers, least):
    """Speakers differ in how much they lose, as do utterances: 95 % is meant. Without widening it is 63 % for two."""
    draw, held, trials = np.random.default_rng(7), 0, 200
    for _ in range(trials):
        size = 120
        speaker = np.arange(size) % (speakers or 1)
        rate = 0.10 + (0.03 * draw.standard_normal(speakers)[speaker] if speakers else 0)
        words = np.full(size, 10)
        lost = draw.binomial(words, np.clip(rate, 0, 1))
        reference = WordErrors(np.zeros(size, dtype=int), words, speaker.astype(str))
        low, high = degradation_interval(WordErrors(lost, words), reference, seed=0)
        held += low <= 10 <= high
    assert least <= held / trials <= 1


def test_interval_is_paired_and_seeded():
    """What both get wrong alike does not widen it; the same seed gives the same interval."""
    noise = np.random.default_rng(1).integers(0, 9, 80)
    base = WordErrors(noise, np.full(80, 10))
    same = WordErrors(noise.copy(), np.full(80, 10))
    assert degradation_interval(same, base, seed=3) == (0, 0)
    worse = WordErrors(noise + np.arange(80) % 2, np.full(80, 10))
    assert degradation_interval(worse, base, seed=3) == degradation_interval(worse, base, seed=3)
    uneven = WordErrors(noise, np.arange(10, 90))
    assert degradation_interval(worse, uneven, seed=3) != degradation_interval(worse, uneven, seed=4)


def test_words_are_drawn_along_with_their_errors():
    """Half of the utterances have one word, which is lost, the others 99 and lose none.

    A resample with k of the n short ones loses k of k + 99 (n - k) words. With k binomial, the interval's ends are
    those of k, by the normal approximation 50 -+ 1.96 * 5 of 100. Without drawing the words it would be k of 5,000.
    """
    words = np.array([1, 99] * 50)
    lost = WordErrors(np.array([1, 0] * 50), words)
    low, high = degradation_interval(lost, WordErrors(np.zeros(100, dtype=int), words), seed=0)
    expected = [100 * k / (k + 99 * (100 - k)) for k in (50 - 9.8, 50 + 9.8)]
    assert [low, high] == pytest.approx(expected, rel=0.04)


def test_a_plain_bootstrap_agrees():
    """Utterance by utterance in Python, with other random numbers."""
    draw = np.random.default_rng(5)
    words = draw.integers(1, 60, 12)
    before, after = draw.binomial(words, 0.1), draw.binomial(words, 0.2)
    points = []
    for _ in range(4000):
        chosen = draw.choice(12, size=12)
        points.append(100 * sum(after[i] - before[i] for i in chosen) / sum(words[i] for i in chosen))
    found = degradation_interval(WordErrors(after, words), WordErrors(before, words), seed=0)
    assert found == pytest.approx(widened(points, 100 * (after - before).sum() / words.sum(), 12), abs=0.8)


def widened(points: list[float], measured: float, drawn: int) -> np.ndarray:
    """The 95 % interval of a bootstrap's ``points`` about what was ``measured``, widened for so many draws."""
    return measured + widening(drawn) * (np.quantile(points, [0.025, 0.975]) - measured)


def test_many_utterances_are_resampled_in_parts(monkeypatch):
    """As many resamples as ever, though memory has room for three at once."""
    draws = []

    class Generator:
        def integers(self, high: int, size: tuple[int, int]) -> np.ndarray:
            draws.append((high, size))
            return np.zeros(size, dtype=int)

    monkeypatch.setattr("stablequant.scoring.intervals.CHUNK", 16)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Generator())
    found = degradation_interval(errors(1, 0, 0, 0, 0), errors(0, 0, 0, 0, 0), seed=0)
    assert found == pytest.approx([2 + 8 * widening(5)] * 2)
    assert {size[1] for _, size in draws} == {5}
    assert {high for high, _ in draws} == {5}
    assert sum(size[0] for _, size in draws) == RESAMPLES
    assert max(size[0] for _, size in draws) == 3


def told(words: WordErrors, *speakers: str) -> WordErrors:
    return WordErrors(words.errors, words.words, np.array(speakers))


def test_speakers_are_drawn_with_all_their_utterances():
    """Of two speakers, one loses a word in each utterance: half of the draws hold both, a quarter only one of them."""
    base = told(errors(*[0] * 20), *"ab" * 10)
    assert base.drawn == "speakers"
    found = degradation_interval(errors(*[1, 0] * 10), base, seed=0)
    assert found == pytest.approx([5 - 5 * widening(2), 5 + 5 * widening(2)])
    low, high = degradation_interval(errors(*[1, 0] * 10), errors(*[0] * 20), seed=0)
    assert 2 < low < 4
    assert 6 < high < 8


def test_a_plain_bootstrap_of_speakers_agrees():
    """Speaker by speaker in Python, with other random numbers; speakers differ in how much they say and lose."""
    draw = np.random.default_rng(6)
    speakers = draw.choice(list("abcdefgh"), size=60)
    words = draw.integers(1, 30, 60)
    before = draw.binomial(words, 0.1)
    after = draw.binomial(words, [0.05 + 0.05 * "abcdefgh".index(speaker) for speaker in speakers])
    by_speaker = [[i for i in range(60) if speakers[i] == speaker] for speaker in sorted(set(speakers))]
    points = []
    for _ in range(10_000):
        chosen = [i for s in draw.integers(len(by_speaker), size=len(by_speaker)) for i in by_speaker[s]]
        points.append(100 * sum(after[i] - before[i] for i in chosen) / sum(words[i] for i in chosen))
    reference = told(WordErrors(before, words), *speakers)
    found = degradation_interval(WordErrors(after, words), reference, seed=0)
    assert found == pytest.approx(widened(points, 100 * (after - before).sum() / words.sum(), 8), abs=0.6)
    alone = degradation_interval(WordErrors(after, words), WordErrors(before, words), seed=0)
    assert found[1] - found[0] > 1.3 * (alone[1] - alone[0])


def test_speakers_of_one_utterance_each_are_drawn_as_utterances():
    before, after = errors(3, 0, 1, 4), errors(4, 0, 3, 4)
    named = told(before, *"abcd")
    assert degradation_interval(after, named, seed=3) == degradation_interval(after, before, seed=3)


def test_speakers_who_happen_to_lose_alike_do_not_make_it_narrower_than_utterances_do():
    before, after = errors(*[0] * 40), errors(*[2, 0, 0, 2] * 10)
    alike = told(before, *"aabb" * 10)
    assert degradation_interval(after, alike, seed=3) == degradation_interval(after, before, seed=3)


def test_utterances_of_a_single_speaker_are_drawn():
    before, after = errors(3, 0, 1, 4), errors(4, 0, 3, 4)
    assert told(before, *"aaaa").drawn == before.drawn == "utterances"
    assert degradation_interval(after, told(before, *"aaaa"), seed=3) == degradation_interval(after, before, seed=3)
