"""Chunks of long recordings, words and their times, subtitles."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile

from stablequant.bundle.subtitles import subtitles
from stablequant.bundle.transcribe import Recogniser, Word, cut, kept_frames, load_bundle, words_of
from stablequant.bundle.write_bundle import Bundle
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import read_footprint
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.recognisers.ctc.vocabulary import Vocabulary

HOP, WINDOW = 320, 400
VOCABULARY = Vocabulary(["<pad>", "<unk>", "|", "A", "B"], blank=0)


def frames_of(samples: int) -> int:
    return (samples - WINDOW) // HOP + 1


@pytest.mark.parametrize("samples", [400, 479_999, 480_000, 480_001, 928_000, 928_001, 5_000_123, 16_000 * 7200])
def test_chunks_hear_every_frame_once_and_are_equally_long(samples):
    chunks = cut(samples, 480_000, 32_000, HOP)
    assert chunks[0].start == 0
    assert chunks[-1].stop == samples
    assert all(chunk.start % HOP == 0 for chunk in chunks)
    assert all(chunk.stop - chunk.start == 480_000 for chunk in chunks[:-1])
    assert chunks[-1].stop - chunks[-1].start <= 480_000
    assert len(chunks) == 1 or chunks[-1].stop - chunks[-1].start > 480_000 - HOP
    for before, after in pairwise(chunks):
        assert before.stop - after.start >= 32_000
    parts = [np.arange(c.start // HOP, c.start // HOP + frames_of(c.stop - c.start)) for c in chunks]
    heard = np.concatenate([part[kept] for part, kept in zip(parts, kept_frames(chunks, parts, HOP), strict=True)])
    assert np.array_equal(heard, np.arange(frames_of(samples)))


def logits(classes: list[int]) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[classes]


def test_words_last_from_their_first_letters_frame_to_their_last_letters():
    path = [0, 3, 3, 0, 3, 2, 2, 0, 4, 1, 0, 2]
    words = words_of(logits(path), VOCABULARY, 0.02)
    assert words == [Word("AA", 0.02, 0.1), Word("B", 0.16, 0.18)]
    assert " ".join(word.word for word in words) == VOCABULARY.decode(np.array(path))


def test_without_a_delimiter_every_token_is_a_word():
    vocabulary = Vocabulary(["<pad>", "aa", "b"], blank=0, delimiter=None)
    words = words_of(np.eye(3, dtype=np.float32)[[1, 1, 0, 2]], vocabulary, 0.02)
    assert words == [Word("aa", 0.0, 0.04), Word("b", 0.06, 0.08)]


def test_words_are_those_of_the_decoder_on_random_paths():
    draw = np.random.default_rng(0)
    for _ in range(200):
        path = draw.integers(0, 5, size=draw.integers(1, 30))
        words = words_of(np.eye(5, dtype=np.float32)[path], VOCABULARY, 0.02)
        assert " ".join(word.word for word in words) == VOCABULARY.decode(path)
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)


@pytest.mark.parametrize("seconds", [1, 4, float("nan"), float("inf")])
def test_chunks_that_overlap_too_much_or_never_end_are_refused(tmp_path, seconds):
    with pytest.raises(ValueError, match="chunks of"):
        load_bundle(tmp_path, chunk_seconds=seconds)


def test_a_network_that_gives_no_numbers_is_told(tiny, tmp_path):
    soundfile.write(tmp_path / "audio.wav", np.zeros(16_000), 16_000)
    bundle = Bundle(tmp_path, {}, read_front_end(tiny.folder), read_footprint(tiny.folder / "config.json"))

    def broken(audio: np.ndarray) -> np.ndarray:
        return np.full((len(audio), 49, 32), np.nan, dtype=np.float32)

    recogniser = Recogniser(bundle, broken, "float32", batch_mb=100, chunk_seconds=30, most=1)
    with pytest.raises(StableQuantError, match="no finite numbers"):
        recogniser.transcribe(tmp_path / "audio.wav")


def test_subtitles_end_at_pauses_and_when_they_are_full():
    words = [Word("ONE", 0.0, 0.5), Word("TWO", 0.6, 1.0), Word("THREE", 3600.5, 3661.25)]
    assert subtitles(words) == (
        "1\n00:00:00,000 --> 00:00:01,000\nONE TWO\n\n2\n01:00:00,500 --> 01:01:01,250\nTHREE\n"
    )
    many = [Word("LONGWORD", i * 0.3, i * 0.3 + 0.25) for i in range(40)]
    blocks = subtitles(many).split("\n\n")
    assert len(blocks) == 5
    assert all(len(block.splitlines()[2]) <= 84 for block in blocks)
    assert subtitles([]) == ""
