"""Marks of words in vocabularies of pieces: decoded as transformers does, and spelled alike."""

import json
from itertools import groupby

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.word_marks import find_delimiter
from stablequant.recognisers.ctc.words import best_path, words_of

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
LETTERS = ["t", "h", "e", "c", "a"]


def vocabulary(tokens: list[str], configured: str | None = "|") -> Vocabulary:
    return Vocabulary([*SPECIAL, *tokens], 0, find_delimiter(tokens, configured))


@pytest.mark.parametrize(
    ("tokens", "configured"),
    [
        (["|", *LETTERS], "|"),
        (["\u2581", *LETTERS], "|"),
        (["\u2581", *LETTERS], "\u2581"),
        (["\u2581", "\u2581the", "\u2581c", *LETTERS], "|"),
        (["\u2581the", "\u2581c", *LETTERS], "|"),
        (["|", "\u2581the", "th", *LETTERS], "|"),
    ],
    ids=str,
)
def test_pieces_are_decoded_like_transformers(tmp_path, tokens, configured):
    """Its tokenizer writes SentencePiece's mark as it is; it stands for a space."""
    letters = vocabulary(tokens, configured)
    (tmp_path / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(letters.tokens)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), word_delimiter_token=configured)
    draw = np.random.default_rng(0)
    for _ in range(100):
        classes = np.repeat(draw.choice([0, *range(4, len(letters.tokens))], size=20), draw.integers(1, 4, size=20))
        expected = " ".join(tokenizer.decode(classes).replace("\u2581", " ").split())
        assert letters.decode(classes) == expected
        words = words_of(*best_path(np.eye(len(letters.tokens), dtype=np.float32)[classes]), letters, 0.02)
        assert " ".join(word.word for word in words) == expected
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert letters.spell(expected.upper()) == expected
        assert not letters.unknown([expected])


@pytest.mark.parametrize(
    "pieces",
    [
        ["\u2581the", "\u2581c", "at", "t", "h", "e"],
        ["the</w>", "c", "at</w>", "h", "e", "t"],
        ["the_EOW", "c", "at_EOW", "h", "e", "t"],
        ["the", "c@@", "at", "h@@", "e@@", "t@@"],
        ["the", "c", "##at", "##h", "##e", "##t"],
        ["\u0120the", "\u0120c", "at", "t", "h", "e"],
        ["_the", "_c", "at", "_", "h", "e"],
    ],
    ids=lambda pieces: pieces[0],
)
def test_other_marks_of_words(pieces):
    """Of BPE, fairseq's _EOW and wordpiece, subword-nmt, BERT's WordPiece and byte-level BPE."""
    letters = vocabulary(pieces)
    assert letters.decode(np.array([4, 5, 0, 6, 4])) == "the cat the"
    assert letters.spell("The cat.") == "the cat"
    assert letters.unknown(["the cat dog"]) == {"d": 1, "o": 1, "g": 1}


def test_a_word_lasts_from_its_first_piece_to_its_last():
    letters = vocabulary(["\u2581the", "\u2581c", "at"])
    path = [0, 4, 4, 5, 0, 6, 6, 0]
    words = words_of(*best_path(np.eye(7, dtype=np.float32)[path]), letters, 0.02)
    assert [(word.word, word.start, word.end) for word in words] == [("the", 0.02, 0.06), ("cat", 0.06, 0.14)]


@pytest.mark.parametrize(
    ("tokens", "configured", "expected"),
    [
        (["a", "|", "\u2581"], None, "|"),
        (["a", "\u2581", " "], "\u2581", "\u2581"),
        (["a", "\u2581a"], "|", None),
        (["a", "b", "_"], None, "_"),
        (["a\u026a", "b", "_"], None, None),  # among phonemes a pause
        (["\u4e00", "\u4e01"], "|", None),
    ],
)
def test_which_token_stands_between_words(tokens, configured, expected):
    assert find_delimiter(tokens, configured) == expected


def test_without_marks_every_token_is_a_word():
    phonemes = vocabulary(["a\u026a", "t\u0283", "_"])
    path = np.array([4, 4, 6, 5, 0, 5])
    assert phonemes.decode(path) == " ".join(phonemes.tokens[c] for c, _ in groupby(path) if c)
