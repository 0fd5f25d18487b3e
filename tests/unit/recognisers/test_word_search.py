"""Beam search with a language model: against brute force, in every form of model, and what is refused."""

import base64
import gzip
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from language_models import arpa_text

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc import word_search
from stablequant.recognisers.ctc.alignment import Aligner
from stablequant.recognisers.ctc.language_model import read_words
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.word_marks import find_delimiter
from stablequant.recognisers.ctc.word_search import WordSearch
from stablequant.recognisers.ctc.words import best_path, log_posteriors, words_of
from stablequant.recognisers.decoder import BeamSearch

pytestmark = pytest.mark.lm

ARPA = """\\data\\
ngram 1=7
ngram 2=4

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>
-2.0\t<unk>\t0
-0.9\tTHE\t-0.2
-1.2\tCAT\t-0.1
-1.4\tSAT\t-0.1
-1.3\tCAP\t0

\\2-grams:
-0.4\t<s> THE
-0.3\tTHE CAT
-0.2\tCAT SAT
-0.3\tSAT </s>

\\end\\
"""
# The same model as KenLM's build_binary writes it ("trie"), gzipped.
BINARY = (
    "H4sIAAAAAAACA8vNTSxQyMlVyCgpKbDS18/OSE1My0zNSdFLzs/VT85PSVVIyy/KTSxRKEstKs7Mz1Mw5WJAgAZ7ILGfEUj8BwKQ"
    "CCNUhglMHrBngoqBMDtUjgXJBDYoXVCnuNeyrZSBK+f7x9riB9lXkl+b/sjjaNT5cyjaqVFh+z1/seLk8JM3PiyL2OtRVPcByYgD"
    "IIcguWn/rJkz9yHzkeXT0tL2nz3jsw/mTqBaIP/MXiYo39h4M5jPDFe/DKwf2c3ofkAGV8+c+bJ05syb5kBL5GfPnFmDImtTmpdt"
    "x2BTDMT6QCLEw5XB2TGEIRiInR0DGAA078nejQEAAA=="
)
LETTERS = Vocabulary(["<pad>", "<unk>", "|", *"ABCEHKPST"], blank=0)
SHORT = Vocabulary(["<pad>", "|", "A", "B"], blank=0)
UNIGRAMS = {"<s>": (-9.0, -0.5), "</s>": (-0.6, 0.0), "A": (-0.7, -0.2), "B": (-1.1, -0.1), "AB": (-0.5, -0.4)}
BIGRAMS = {("<s>", "B"): -0.3, ("A", "AB"): -0.1, ("AB", "</s>"): -0.2, ("B", "A"): -0.4}
OUTSIDE = -10.0  # the package's charge for words that the model does not know


@pytest.fixture
def arpa(tmp_path) -> Path:
    (tmp_path / "lm.arpa").write_text(ARPA)
    return tmp_path / "lm.arpa"


def spoken(text: str, vocabulary: Vocabulary = LETTERS, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Logits whose best path writes ``text``, with one frame of blank behind each letter."""
    classes = [n for c in text.replace(" ", "|") for n in (vocabulary.tokens.index(c), 0)]
    logits = noise * np.random.default_rng(seed).standard_normal((len(classes), len(vocabulary.tokens)))
    logits[np.arange(len(classes)), classes] += 8
    return logits


def probability_of(words: list[str]) -> float:
    """Natural logarithm of the probability of a sentence by the bigram model above, with back-off."""
    total, before = 0.0, "<s>"
    for word in [*words, "</s>"]:
        known = UNIGRAMS.get(word, (-3.0, 0.0))
        backed_off = UNIGRAMS.get(before, (-3.0, 0.0))[1] + known[0]
        total += BIGRAMS.get((before, word), backed_off) + (0.0 if word in UNIGRAMS else OUTSIDE)
        before = word
    return total * math.log(10)


def test_the_best_text_is_that_of_brute_force(tmp_path):
    """Every path through six frames is summed by its text; then the model's probability and the bonus are added."""
    (tmp_path / "lm.arpa").write_text(arpa_text(UNIGRAMS | {"<unk>": (-3.0, 0.0)}, BIGRAMS))
    weight, bonus = 0.6, 0.8
    search = WordSearch(SHORT, BeamSearch(tmp_path / "lm.arpa", weight=weight, word_bonus=bonus))
    paths = np.array(list(product(range(4), repeat=6)))
    texts = [SHORT.decode(path) for path in paths]
    differ = 0
    for seed in range(25):
        logits = 1.5 * np.random.default_rng(seed).standard_normal((6, 4))
        by_path = log_posteriors(logits)[np.arange(6), paths].sum(axis=1)
        scores: dict[str, float] = {}
        for text, score in zip(texts, by_path, strict=True):
            scores[text] = np.logaddexp(scores.get(text, -np.inf), score)
        heard = max(scores, key=scores.__getitem__)
        for text in scores:
            scores[text] += weight * probability_of(text.split()) + bonus * len(text.split())
        best = max(scores, key=scores.__getitem__)
        assert search.text(logits) == best, seed
        differ += best != heard
    assert differ > 5, "the model changed next to nothing"


def test_without_a_model_the_words_are_those_of_the_best_path():
    """Their times and confidences too, which come from another algorithm here."""
    search = WordSearch(LETTERS, BeamSearch())
    for seed in range(10):
        logits = spoken("THE  CAP SAT BESET", noise=1.0, seed=seed)
        assert search.words(logits, 0.02) == words_of(*best_path(logits), LETTERS, 0.02)
        assert search.text(logits) == "THE CAP SAT BESET"


def test_a_language_model_and_hot_words_decide_what_was_heard_unclearly(arpa):
    logits = spoken("THE CAP SAT")
    place = 2 * "THE CAP SAT".index("P")
    for letter, score in (("P", 8.0), ("T", 7.5), ("B", 7.0)):
        logits[place, LETTERS.tokens.index(letter)] = score
    assert WordSearch(LETTERS, BeamSearch()).text(logits) == "THE CAP SAT"
    by_model = WordSearch(LETTERS, BeamSearch(arpa)).words(logits, 0.02)
    assert [word.word for word in by_model] == ["THE", "CAT", "SAT"]
    expected = WordSearch(LETTERS, BeamSearch(hot_words=["cab"])).words(logits, 0.02)
    assert [word.word for word in expected] == ["THE", "CAB", "SAT"]
    heard = words_of(*best_path(logits), LETTERS, 0.02)
    for words in (by_model, expected):
        assert [(word.start, word.end) for word in words] == [(word.start, word.end) for word in heard]
        assert words[1].confidence < heard[1].confidence, "confidence is what was heard, not what was expected"
        assert words[0] == heard[0] and words[2] == heard[2]


def test_a_hot_phrase_that_the_model_does_not_know_is_found(arpa):
    logits = spoken("THE BAT SAT", noise=0.5)
    logits[8, LETTERS.tokens.index("C")] = 7.9  # as likely as the B
    assert WordSearch(LETTERS, BeamSearch(arpa)).text(logits) == "THE CAT SAT"
    assert WordSearch(LETTERS, BeamSearch(arpa, ["the bat"], hot_word_weight=20)).text(logits) == "THE BAT SAT"


@pytest.mark.parametrize("form", ["arpa", "arpa.gz", "binary"])
def test_models_are_read_in_every_form(tmp_path, form):
    file = tmp_path / f"lm.{form}"
    packed = {"arpa": ARPA.encode(), "arpa.gz": gzip.compress(ARPA.encode())}
    file.write_bytes(packed.get(form) or gzip.decompress(base64.b64decode(BINARY)))
    assert read_words(file) == ["THE", "CAT", "SAT", "CAP"]
    logits = spoken("THE CAP SAT")
    logits[12] = logits[12] * 0.0
    assert WordSearch(LETTERS, BeamSearch(file)).text(logits) == "THE CAT SAT"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "not a readable language model .No such file"),
        (b"", "no words in it"),
        (b"some text\n", "no words in it"),
        (bytes(range(256)), "not a readable language model"),
        (gzip.compress(ARPA.encode())[:60], "not a readable language model"),
        (ARPA.encode()[:120], "no beam search with it"),
        (ARPA.replace("ngram 2=4", "ngram 2=9").encode(), "no beam search with it"),
        (b"mmap lm http://kheafield.com/code" + bytes(500), "no words in it"),
        (gzip.decompress(base64.b64decode(BINARY)).replace(b"version 5", b"version 1"), "no beam search with it"),
        (ARPA.lower().encode(), "4 of its 4 words, such as 'the', are not spelled with"),
    ],
)
def test_what_is_no_model_of_this_recogniser_is_refused(tmp_path, content, fault):
    file = tmp_path / "lm.arpa"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StableQuantError, match=fault) as refused:
        WordSearch(LETTERS, BeamSearch(file))
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(("typed", "fault"), [("Z\u00dcRICH", "cannot write"), ("!?", "nothing of it can be written")])
def test_hot_words_that_cannot_be_written_are_refused(typed, fault):
    with pytest.raises(StableQuantError, match=fault) as refused:
        WordSearch(LETTERS, BeamSearch(hot_words=["CAT", typed]))
    assert f"hot word '{typed}'" in str(refused.value)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    with pytest.raises(StableQuantError, match=r"run: pip install '\.\[lm\]'"):
        WordSearch(LETTERS, BeamSearch())


@pytest.mark.parametrize(
    ("tokens", "path", "text"),
    [
        (["\u2581ca", "t", "\u2581sa", "ts"], ["\u2581ca", "t", "", "t", "\u2581sa", "t"], "catt sat"),
        (["AA", "B", "CH"], ["AA", "B", "", "B", "CH"], "AA B B CH"),  # each is a word
    ],
)
def test_tokens_that_mark_words_themselves(tokens, path, text):
    vocabulary = Vocabulary(["", *tokens], 0, find_delimiter(tokens, "|"))
    logits = 8 * np.eye(len(tokens) + 1)[[vocabulary.tokens.index(token) for token in path]]
    words = WordSearch(vocabulary, BeamSearch()).words(logits, 0.02)
    assert " ".join(word.word for word in words) == text
    assert words == words_of(*best_path(logits), vocabulary, 0.02)


def test_marks_that_the_package_does_not_know_are_refused():
    for tokens in (["ca", "t</w>"], ["\u2581", "\u2581ca", "t"]):
        with pytest.raises(
            StableQuantError, match="no beam search is known for the way in which its tokens mark words"
        ):
            WordSearch(Vocabulary(["", *tokens], 0, find_delimiter(tokens, "|")), BeamSearch())


def test_a_long_recording_is_searched_in_parts_that_cut_no_word(monkeypatch):
    """In parts of a second; one word is longer than half a part."""
    monkeypatch.setattr(word_search, "STRETCH", 50)
    text = " ".join(["THE CAT", "SAT", "BESETBESETBE", "CAP"] * 12)
    logits = spoken(text, noise=0.5)
    search = WordSearch(LETTERS, BeamSearch())
    assert search.text(logits) == text
    assert search.words(logits, 0.02) == words_of(*best_path(logits), LETTERS, 0.02)
    parts = list(search._stretches(logits.argmax(axis=1)))
    assert len(parts) > 10 and all(part.stop - part.start <= 50 for part in parts)
    # A single word that is longer than a part is cut, but nothing is lost.
    endless = spoken("BE" * 100)
    assert search.text(endless).replace(" ", "") == "BE" * 100


def test_many_threads_share_one_search(arpa):
    search = WordSearch(LETTERS, BeamSearch(arpa, ["CAB"]))
    audio = [spoken(text, noise=2.0, seed=n) for n, text in enumerate(["THE CAT SAT", "SAT CAP", "BEST CAB"] * 8)]
    alone = [search.words(logits, 0.02) for logits in audio]
    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(lambda logits: search.words(logits, 0.02), audio)) == alone


def test_a_word_lies_on_the_best_of_all_paths_that_write_it():
    """Against brute force, with spaces around the word and none inside."""
    aligner = Aligner(SHORT)
    paths = np.array(list(product(range(4), repeat=6)))
    writing = {
        word: [path for path in paths if SHORT.decode(path) == word and _is_whole(path)] for word in ("A", "AB", "ABB")
    }
    for seed in range(20):
        posteriors = log_posteriors(np.random.default_rng(seed).standard_normal((6, 4)))
        for word, listed in writing.items():
            best = max(posteriors[np.arange(6), path].sum() for path in listed)
            path, tokens = aligner.align(word, posteriors)
            assert posteriors[np.arange(6), path].sum() == pytest.approx(best)
            assert SHORT.decode(path) == word
            assert [SHORT.tokens[path[frames.start]] for frames in tokens] == list(word)
    assert aligner.align("ABBA", posteriors[:4]) is None, "a letter that is repeated needs a blank between"


def _is_whole(path: np.ndarray) -> bool:
    """Whether no space stands between the letters on ``path``."""
    letters = np.flatnonzero(path > 1)
    return 1 not in path[letters[0] : letters[-1]]
