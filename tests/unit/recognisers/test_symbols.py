"""What a transcript has and the vocabulary has not."""

import unicodedata

import pytest

from stablequant.recognisers.ctc.vocabulary import Vocabulary

LETTERS = Vocabulary(["<pad>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"], blank=0)
APOSTROPHE = Vocabulary([*LETTERS.tokens, "'", "+"], blank=0)


@pytest.mark.parametrize("symbol", "+=<>|^`~$\u20ac\u00b0\u2122\u2192")
def test_symbols_are_left_out(symbol):
    """Nobody says them: Unicode's category S."""
    assert unicodedata.category(symbol)[0] == "S"
    assert LETTERS.spell(f"a{symbol}b {symbol} c") == "A B C"


@pytest.mark.parametrize("mark", '!"#%&()*,-./:;?@[]_\u2013\u2014\u201c\u201e\u00bf')
def test_punctuation_is_left_out(mark):
    """Unicode's category P."""
    assert unicodedata.category(mark)[0] == "P"
    assert LETTERS.spell(f"a{mark}b{mark}") == "A B"


def test_what_is_said_stays_and_counts_as_an_error():
    """Digits, letters of other alphabets and marks on them."""
    assert LETTERS.spell("Zo\u00eb 4 \u0434\u0430 \u00b2") == "ZO\u00cb 4 \u0414\u0410 \u00b2"
    assert LETTERS.unknown(["ZO\u00cb 4 44"]) == {"\u00cb": 1, "4": 3}


def test_a_symbol_of_the_vocabulary_is_written():
    assert APOSTROPHE.spell("1 + a") == "1 + A"


@pytest.mark.parametrize("apostrophe", "'\u2019\u2018\u02bc")
def test_apostrophes_are_one_and_where_there_is_none_the_word_closes_up(apostrophe):
    assert APOSTROPHE.spell(f"don{apostrophe}t") == "DON'T"
    assert LETTERS.spell(f"don{apostrophe}t") == "DONT"
