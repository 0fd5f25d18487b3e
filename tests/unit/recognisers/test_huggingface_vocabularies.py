"""Vocabularies in Hugging Face layout: tokens, delimiters and blanks as published checkpoints name them."""

import json
from pathlib import Path

import numpy as np
import pytest
from json_files import edit
from transformers import (
    AutoTokenizer,
    Wav2Vec2CTCTokenizer,
)
from wav2vec2_files import front_end_of

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.words import words_of
from stablequant.recognisers.decoder import text_of
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.family import read_front_end

LETTERS = [chr(ord("a") + i) for i in range(26)]


def write_vocabulary(folder: Path, tokens: list[str], **tokenizer) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def test_a_vocabulary_of_another_model_is_refused(source, tmp_path):
    edit(source / "vocab.json", **{"<mask>": 32})
    assert len(front_end_of(source).vocabulary.tokens) == 32
    edit(source / "vocab.json", **{"\u00df": 33})
    with pytest.raises(StableQuantError, match=r"vocab\.json: class 3[23] is '\S+', but the model has only 32 classes"):
        import_checkpoint(str(source), tmp_path / "imported")


@pytest.mark.parametrize("named", [{"pad_token": "[PAD]"}, {"pad_token": {"content": "[PAD]", "special": True}}])
def test_old_files_name_the_pad_token_in_the_map_of_special_tokens(source, named):
    tokens = [*"abcdefghijklmnopqrstuvwxyz|", "<pad>", "[UNK]", "[PAD]", "-", "'"]
    (source / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (source / "special_tokens_map.json").write_text(json.dumps(named))
    edit(source / "tokenizer_config.json", pad_token="<pad>", word_delimiter_token="|")
    assert front_end_of(source).vocabulary.blank == tokens.index("[PAD]")
    assert str(AutoTokenizer.from_pretrained(source).pad_token) == "[PAD]"


def test_the_vocabulary_comes_before_added_tokens(source):
    (source / "added_tokens.json").write_text(json.dumps({"<other>": 5}))
    tokens = json.loads((source / "vocab.json").read_text())
    assert front_end_of(source).vocabulary.tokens == sorted(tokens, key=tokens.__getitem__)


def test_lower_case_output(source, tmp_path):
    edit(source / "tokenizer_config.json", do_lower_case=True)
    vocabulary = front_end_of(source).vocabulary
    classes = np.random.default_rng(0).choice(np.arange(4, 32), 50)
    theirs = AutoTokenizer.from_pretrained(source).decode(classes)
    assert vocabulary.decode(classes) == " ".join(theirs.split())
    assert vocabulary.decode(classes).islower()
    tokens = json.loads((source / "vocab.json").read_text())
    tokens["e"] = tokens.pop("Z")
    (source / "vocab.json").write_text(json.dumps(tokens))
    with pytest.raises(StableQuantError, match="letters differ only in their case"):
        import_checkpoint(str(source), tmp_path / "again")


def test_a_lower_case_vocabulary_with_its_blank_last(source, tmp_path):
    """The form of most checkpoints fine-tuned by transformers' recipe: tokens added behind the letters."""
    write_vocabulary(source, ["|", *LETTERS, "'"], pad_token="[PAD]", unk_token="[UNK]", word_delimiter_token="|")
    (source / "added_tokens.json").write_text(json.dumps({"[UNK]": 28, "[PAD]": 29, "<s>": 30, "</s>": 31}))
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.blank == 29
    assert json.loads((tmp_path / "imported/config.json").read_text())["pad_token_id"] == 29
    classes = [vocabulary.tokens.index(t) for t in ["h", "h", "[PAD]", "i", "|", "<s>", "y", "[UNK]", "o"]]
    assert vocabulary.decode(np.array(classes)) == "hi yo"
    assert vocabulary.spell("Don\u2019t \u2014 stop, Zo\u00eb!") == "don't stop zo\u00eb"
    assert vocabulary.unknown(["don't stop zo\u00eb"]) == {"\u00eb": 1}


def test_a_stray_mark_in_a_vocabulary_of_letters_changes_nothing(source, tmp_path):
    write_vocabulary(source, ["<pad>", "|", *LETTERS, "<unk>", "'", "<MASK>", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.spell("HELLO, WORLD") == "hello world"
    assert not vocabulary.unknown(["hello world"])


def test_tokens_added_in_the_tokenizers_own_file(source, tmp_path):
    added = {str(index): {"content": token} for index, token in ((28, "<unk>"), (29, "<pad>"))}
    write_vocabulary(source, ["|", *LETTERS, "'"], pad_token={"content": "<pad>"}, added_tokens_decoder=added)
    edit(source / "config.json", vocab_size=32)
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.blank == 29
    assert vocabulary.tokens[30:] == ["<unused30>", "<unused31>"]
    assert vocabulary.decode(np.array([1, 30, 31, 2])) == "ab"


def test_phonemes_count_as_words(source, tmp_path):
    phonemes = ["<pad>", "<s>", "</s>", "<unk>", "t\u0283", "a\u026a", "n", "\u0259", *(f"x{i}" for i in range(24))]
    write_vocabulary(source, phonemes, pad_token="<pad>", word_delimiter_token=None)
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.delimiter is None
    assert vocabulary.decode(np.array([4, 4, 0, 5, 6, 3, 7])) == "t\u0283 a\u026a n \u0259"
    assert vocabulary.spell(" t\u0283  a\u026a n, ") == "t\u0283 a\u026a n,"
    assert vocabulary.unknown(["t\u0283 a\u026a n,"]) == {"n,": 1}


def test_characters_without_a_delimiter_stand_apart(source, tmp_path):
    characters = ["<pad>", "<unk>", *(chr(0x4E00 + i) for i in range(30))]
    write_vocabulary(source, characters, pad_token="<pad>", word_delimiter_token="|")
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.delimiter is None
    assert vocabulary.decode(np.array([2, 0, 3, 1, 4])) == "\u4e00 \u4e01 \u4e02"
    assert vocabulary.spell("\u4e00\u4e01 \u4e02\u3002") == "\u4e00 \u4e01 \u4e02"


def test_chinese_and_japanese_are_counted_by_characters_whatever_stands_between_words(source, tmp_path):
    """As published fine-tunes of XLSR-53: a delimiter is there, but transcripts have no spaces."""
    characters = [
        "<pad>",
        "<unk>",
        "|",
        "a",
        *(chr(0x4E00 + i) for i in range(20)),
        *(chr(0x3042 + i) for i in range(8)),
    ]
    write_vocabulary(source, characters, pad_token="<pad>", word_delimiter_token="|")
    front_end = front_end_of(source)
    vocabulary = front_end.vocabulary
    assert vocabulary.delimiter is None and front_end.splits_letters
    assert front_end.spell("\u4e00\u4e01\u3042\u3002") == "\u4e00 \u4e01 \u3042"
    path = np.array([4, 4, 2, 5, 24, 0, 3])
    assert vocabulary.decode(path) == "\u4e00 \u4e01 \u3042 a"
    words = words_of(path, np.zeros(len(path)), vocabulary, 0.02)
    assert text_of(words) == "\u4e00\u4e01\u3042 a", "people write it without spaces"
    again = read_front_end(tmp_path / "imported").vocabulary
    assert again.decode(path) == vocabulary.decode(path), "as read from the imported folder"


def test_a_few_chinese_characters_do_not_make_letters_words(source):
    tokens = ["<pad>", "<unk>", "|", *LETTERS, *(chr(0x4E00 + i) for i in range(3))]
    write_vocabulary(source, tokens, pad_token="<pad>", word_delimiter_token="|")
    assert front_end_of(source).vocabulary.delimiter == "|" and not front_end_of(source).splits_letters


def test_sentencepiece_units(source, tmp_path):
    write_vocabulary(source, ["<pad>", "\u2581", *LETTERS, "<unk>", "'", "-", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.decode(np.array([1, 2, 1, 3, 4, 1])) == "a bc"
    assert vocabulary.spell("A bc.") == "a bc"
    settings = json.loads((tmp_path / "imported/tokenizer_config.json").read_text())
    delimiter = settings["word_delimiter_token"]  # from_pretrained of transformers 5.23 does not read it
    written = Wav2Vec2CTCTokenizer(str(tmp_path / "imported/vocab.json"), word_delimiter_token=delimiter)
    assert written.decode([1, 2, 1, 3, 4, 1]) == "a bc", "transformers does not decode what was imported alike"


def test_phonemes_are_taken_from_their_own_file(source, tmp_path):
    phonemes = ["<pad>", "<unk>", "t\u0283", *(f"x{i}" for i in range(29))]
    write_vocabulary(source, phonemes, pad_token="<pad>", word_delimiter_token=None)
    assert front_end_of(source).labels[0] == "phn"


def test_labels_that_do_not_exist_are_refused(source, tmp_path):
    import_checkpoint(str(source), tmp_path / "imported")
    edit(tmp_path / "imported/preprocessor_config.json", labels="km")
    with pytest.raises(StableQuantError, match=r"config\.json: 'labels' of 'km'; take one of wrd, ltr, phn"):
        read_front_end(tmp_path / "imported")


def test_a_space_as_delimiter(source, tmp_path):
    write_vocabulary(source, ["<pad>", " ", *LETTERS, "<unk>", "'", "-", "_"], pad_token="<pad>")
    vocabulary = front_end_of(source).vocabulary
    assert vocabulary.decode(np.array([2, 1, 1, 3])) == "a b"


@pytest.mark.parametrize(
    ("vocabulary", "tokenizer", "named"),
    [
        ({"eng": {"a": 0}, "fra": {"a": 0}}, {}, "2 languages"),
        ({}, {}, "does not exist or is empty"),
        ({"a": "0"}, {}, "classes 0, 1"),
        ({"a": 0, "<pad>": 99}, {"pad_token": "<pad>"}, "blank"),
    ],
)
def test_faulty_vocabularies_are_refused(source, tmp_path, vocabulary, tokenizer, named):
    (source / "vocab.json").write_text(json.dumps(vocabulary))
    (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with pytest.raises(StableQuantError, match=named):
        import_checkpoint(str(source), tmp_path / "imported")
