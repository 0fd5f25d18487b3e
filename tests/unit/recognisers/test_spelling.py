"""Transcripts in the form of the vocabulary: its case, its Unicode form, its marks, its tokens."""

import unicodedata
from string import ascii_lowercase, ascii_uppercase

import pytest

from stablequant.recognisers.ctc.vocabulary import Vocabulary

TURKISH = "\u00e7\u011f\u0131i\u00f6\u015f\u00fc"


def vocabulary(*tokens: str, delimiter: str | None = "|") -> Vocabulary:
    """``tokens`` behind the blank and the delimiter."""
    return Vocabulary(["<pad>", *([delimiter] if delimiter else []), *dict.fromkeys(tokens)], 0, delimiter)


def spelled(letters: Vocabulary, transcript: str) -> str:
    """The transcript as the vocabulary writes it; nothing of it may be outside."""
    text = letters.spell(transcript)
    assert not letters.unknown([text]), text
    assert letters.spell(text) == text, "what is spelled already changes again"
    return text


@pytest.mark.parametrize(
    ("tokens", "transcript", "expected"),
    [
        (ascii_uppercase.replace("Z", "z"), "the zebra", "THE zEBRA"),  # one letter of the other case
        (ascii_uppercase + "e", "the bee", "THE BEE"),
        (ascii_uppercase + "e", "THE BEE", "THE BEE"),
        (ascii_lowercase + "\u00aa\u00ba", "N\u00ba DOS", "n\u00ba dos"),
        (ascii_uppercase + "\u00ba", "n\u00ba dos", "N\u00ba DOS"),
        (ascii_uppercase + "\u00df", "Stra\u00dfe wasser", "STRA\u00dfE WASSER"),
        (ascii_uppercase + "\u1e9e", "Stra\u00dfe", "STRA\u1e9eE"),
        (ascii_uppercase, "Stra\u00dfe", "STRASSE"),
        (ascii_lowercase, "STRA\u1e9eE", "strasse"),
        (ascii_lowercase + ascii_uppercase, "Anna KAM", "Anna KAM"),
        (ascii_lowercase + ascii_uppercase.replace("X", ""), "Xaver Kam", "xaver Kam"),
        (ascii_lowercase, "\u0130zmir", "izmir"),
        (ascii_lowercase, "i\u0307zmir", "izmir"),  # what Python's lower() makes of it
        (ascii_lowercase, "I\u0307zmir", "izmir"),
        (ascii_lowercase + TURKISH, "I\u015eIK \u0130stanbul", "\u0131\u015f\u0131k istanbul"),
        (ascii_lowercase + TURKISH + "\u0307", "ISI \u0130yi", "isi i\u0307yi"),  # lower() made the vocabulary
        (ascii_uppercase + "\u0130\u015e", "\u0131\u015f\u0131k istanbul", "I\u015eIK \u0130STANBUL"),
        (ascii_uppercase, "\u0131s\u0131 \u0130yi", "ISI IYI"),
        ("\u03b4\u03bf\u03c3\u03c2", "\u039f\u0394\u039f\u03a3 \u03a3", "\u03bf\u03b4\u03bf\u03c2 \u03c3"),
        ("\u03b4\u03bf\u03c3", "\u03bf\u03b4\u03bf\u03c2", "\u03bf\u03b4\u03bf\u03c3"),
        ("SZD@sz", "SzD @", "SzD @"),  # X-SAMPA, in which case has a meaning
    ],
)
def test_case_is_what_the_vocabulary_can_write(tokens, transcript, expected):
    assert spelled(vocabulary(*tokens), transcript) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("abcd\u00e9\u00f1", "\u00e9ba\u00f1a"),  # composed
        ("abcden\u0301\u0303", unicodedata.normalize("NFD", "\u00e9ba\u00f1a")),  # decomposed
        ("abcde\u0301\u00e9\u1ecd", "\u00e9b\u1ecd\u0301"),  # both, and a letter that is composed in part
        ("\u0995\u09dc\u09df\u09be", "\u0995\u09df\u09be \u09dc"),  # Bengali letters that NFC decomposes
        ("\u0915\u0921\u093c", "\u0915\u0921\u093c"),  # Hindi, decomposed in both forms
        ("\uac00\uac01", "\uac00\uac01 \uac01\uac00"),  # Hangul
        ("\u1100\u1161\u11a8", "\u1100\u1161\u11a8\u1100"),  # jamo
    ],
)
def test_letters_have_the_form_of_the_vocabulary(tokens, text, form):
    assert spelled(vocabulary(*tokens), unicodedata.normalize(form, text)) == text


def test_the_order_of_accents_stays():
    """Unicode's canonical order is another than the one in which Arabic is written, and learned."""
    typed = "\u0634\u0651\u064e\u0645"
    assert unicodedata.normalize("NFC", typed) != typed
    assert spelled(vocabulary(*"\u0634\u0645\u064e\u0651"), typed) == typed


def test_a_letter_that_is_not_there_is_left_as_one():
    letters = vocabulary(*"ake\u0301", "\uac00")
    text = letters.spell("ke\u0308k \uac01")
    assert text == "k\u00ebk \uac01"
    assert letters.unknown([text]) == {"\u00eb": 1, "\uac01": 1}


@pytest.mark.parametrize(
    ("tokens", "transcript", "expected"),
    [
        ("dont\u2019", "don't don\u02bct", "don\u2019t don\u2019t"),
        ("dont'", "don\u2019t don`t `dont` don\u00b4t", "don't don't dont don't"),
        ("dont'\u2019", "don't don\u2019t", "don't don\u2019t"),
        ("dont", "don\u2019t `dont`", "dont dont"),
        ("ohau\u02bb", "o'ahu", "o\u02bbahu"),
        ("ab\u2010", "a-b a \u2013 b a\u2011b", "a\u2010b a b a\u2010b"),
        ("ab-", "a\u2010b a \u2013 b a\u2013b a\u2014b", "a-b a b a-b a b"),
        ("ab", "a-b", "a b"),
        ('ab"', "\u201ea b\u201c \u00aba\u00bb", '"a b" "a"'),
        ("ab\u201e\u201c", '"a b" \u00aba\u00bb', "\u201ea b\u201c \u201ea\u201c"),
        ("ab\u00ab\u00bb", "\u201ca b\u201d", "\u00aba b\u00bb"),
        ("ab", '"a b"', "a b"),
        ("ab", "\ufeffa\u00adb\u200b a\u200db\u200e", "ab ab"),  # invisible
        ("ab\u200c", "a\u200cb\u200d", "a\u200cb"),  # Persian writes it
        ("ab", "a\ufe0f\u00a0b", "a b"),
    ],
)
def test_marks_are_those_of_the_vocabulary(tokens, transcript, expected):
    assert spelled(vocabulary(*tokens), transcript) == expected


def test_tokens_of_several_characters_are_found_before_anything_is_called_unwritable():
    letters = vocabulary("we", "e\u02e7", "t", "a\u02e5", "t\u0283", "ab", "abc", "cd", "<noise>", "madeupword0000")
    assert spelled(letters, "te\u02e7 ta\u02e5t\u0283 <noise>") == "te\u02e7 ta\u02e5t\u0283 <noise>"
    assert spelled(letters, "abcd") == "abcd", "the longest token first leaves a d over"
    text = letters.spell("t\u02e7 oe\u02e7")
    assert text == "t oe\u02e7", "a tone letter without its vowel is a symbol that is not there"
    assert letters.unknown([text]) == {"o": 1}


def test_fillers_of_a_dictionary_say_nothing_of_its_case():
    """fairseq fills a dictionary with madeupword0000 and so on."""
    assert spelled(vocabulary(*ascii_uppercase, "madeupword0000", "<noise>"), "dream made") == "DREAM MADE"


def test_phonemes_without_a_delimiter_are_taken_apart():
    phonemes = vocabulary("t\u0283", "a\u026a", "n", "\u00e3", delimiter=None)
    assert spelled(phonemes, "t\u0283 a\u026a n") == "t\u0283 a\u026a n"
    assert spelled(phonemes, "t\u0283a\u026an a\u0303") == "t\u0283 a\u026a n \u00e3"
    assert phonemes.spell("nope") == "nope"
    assert phonemes.unknown(["n nope"]) == {"nope": 1}


def test_words_as_tokens():
    words = vocabulary("HELLO", "WORLD", delimiter=None)
    assert spelled(words, "hello WORLD") == "HELLO WORLD"


def test_names_of_noises_make_no_phonemes_of_characters():
    characters = vocabulary("\u4e00", "\u4e01", "<MASK>", delimiter=None)
    assert spelled(characters, "\u4e00\u4e01\u3002") == "\u4e00 \u4e01"
