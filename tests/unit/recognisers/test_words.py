"""Chunks of long recordings, words and their times."""

from itertools import pairwise

import numpy as np
import pytest

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.words import best_path, cut_chunks, frames_to_keep, words_of
from stablequant.recognisers.decoder import Word

HOP, WINDOW = 320, 400
VOCABULARY = Vocabulary(["<pad>", "<unk>", "|", "A", "B"], blank=0)


def frames_of(samples: int) -> int:
    return (samples - WINDOW) // HOP + 1


@pytest.mark.parametrize("samples", [400, 479_999, 480_000, 480_001, 928_000, 928_001, 5_000_123, 16_000 * 7200])
def test_chunks_count_every_frame_once_and_are_equally_long(samples):
    chunks = cut_chunks(samples, 480_000, 32_000, HOP)
    assert chunks[0].start == 0
    assert chunks[-1].stop == samples
    assert all(chunk.start % HOP == 0 for chunk in chunks)
    assert all(chunk.stop - chunk.start == 480_000 for chunk in chunks[:-1])
    assert chunks[-1].stop - chunks[-1].start <= 480_000
    assert len(chunks) == 1 or chunks[-1].stop - chunks[-1].start > 480_000 - HOP
    for before, after in pairwise(chunks):
        assert before.stop - after.start >= 32_000
    parts = [np.arange(c.start // HOP, c.start // HOP + frames_of(c.stop - c.start)) for c in chunks]
    counted = np.concatenate([part[kept] for part, kept in zip(parts, frames_to_keep(chunks, parts, HOP), strict=True)])
    assert np.array_equal(counted, np.arange(frames_of(samples)))


def logits(classes: list[int]) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[classes]


def test_words_last_from_their_first_letters_frame_to_their_last_letters():
    path = [0, 3, 3, 0, 3, 2, 2, 0, 4, 1, 0, 2]
    words = words_of(*best_path(logits(path)), VOCABULARY, 0.02)
    sure = round(float(np.e / (np.e + 4)), 4)  # of a one among four zeros, in every frame
    assert words == [Word("AA", 0.02, 0.1, sure), Word("B", 0.16, 0.18, sure)]
    assert " ".join(word.word for word in words) == VOCABULARY.decode(np.array(path))


def test_without_a_delimiter_every_token_is_a_word():
    vocabulary = Vocabulary(["<pad>", "aa", "b"], blank=0, delimiter=None)
    words = words_of(*best_path(np.eye(3, dtype=np.float32)[[1, 1, 0, 2]]), vocabulary, 0.02)
    assert [(word.word, word.start, word.end) for word in words] == [("aa", 0.0, 0.04), ("b", 0.06, 0.08)]


def test_confidence_is_the_geometric_mean_of_the_posteriors_of_the_words_tokens():
    """Of the tokens' frames only: neither blanks nor other words count."""
    posteriors = np.array(
        [
            [0.10, 0.05, 0.05, 0.80, 0.00],  # A
            [0.20, 0.10, 0.10, 0.50, 0.10],  # A goes on
            [0.60, 0.10, 0.10, 0.10, 0.10],  # blank
            [0.10, 0.10, 0.10, 0.30, 0.40],  # B
            [0.01, 0.01, 0.96, 0.01, 0.01],  # |
            [0.25, 0.00, 0.05, 0.00, 0.70],  # B
        ]
    )
    with np.errstate(divide="ignore"):
        words = words_of(*best_path(np.log(posteriors) + 3), VOCABULARY, 0.02)  # logits are posteriors up to a constant
    assert [word.word for word in words] == ["AB", "B"]
    assert words[0].confidence == pytest.approx((0.8 * 0.5 * 0.4) ** (1 / 3), abs=1e-4)
    assert words[1].confidence == pytest.approx(0.7, abs=1e-4)


def test_words_are_those_of_the_decoder_on_random_paths():
    draw = np.random.default_rng(0)
    for _ in range(200):
        path = draw.integers(0, 5, size=draw.integers(1, 30))
        words = words_of(*best_path(np.eye(5, dtype=np.float32)[path]), VOCABULARY, 0.02)
        assert " ".join(word.word for word in words) == VOCABULARY.decode(path)
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
