"""Tokens for other libraries, read by these libraries or by their rules."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from stablequant.recognisers.ctc.vocabulary import Vocabulary, read_vocabulary
from stablequant.recognisers.ctc.write_vocabulary import symbols_of, tokenizer_of, write_vocabulary

LETTERS = Vocabulary(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "N", "D", "'"], 0)
NEED = ["N", "N", "E", "<pad>", "E", "E", "D", "|", "|", "<pad>", "'", "E", "N", "D", "|"]


def classes(vocabulary: Vocabulary, tokens: list[str]) -> list[int]:
    return [vocabulary.tokens.index(token) for token in tokens]


def sherpa(vocabulary: Vocabulary, indices: list[int]) -> list[str]:
    """The words that sherpa-onnx makes: symbols put together, a leading \u2581 is a space."""
    symbols = symbols_of(vocabulary)
    assert symbols[vocabulary.blank] == "<blk>"
    merged = [i for i, before in zip(indices, [None, *indices], strict=False) if i != before and i != vocabulary.blank]
    texts = (f" {symbols[i][1:]}" if symbols[i].startswith("\u2581") else symbols[i] for i in merged)
    return "".join(texts).split()


def test_all_files_say_the_same(tmp_path):
    write_vocabulary(tmp_path, LETTERS)
    heard = classes(LETTERS, NEED)
    assert LETTERS.decode(np.array(heard)) == "NEED 'END"
    assert read_vocabulary(tmp_path, 0) == LETTERS
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.decode(heard, skip_special_tokens=True).split() == ["NEED", "'END"]
    assert sherpa(LETTERS, heard) == ["NEED", "'END"]
    lines = [line.rsplit(" ", 1) for line in (tmp_path / "tokens.txt").read_text().splitlines()]
    assert lines == [[symbol, str(index)] for index, symbol in enumerate(symbols_of(LETTERS))]
    theirs = AutoTokenizer.from_pretrained(tmp_path, tokenizer_type="wav2vec2")
    assert theirs.decode(heard).split() == ["NEED", "'END"]  # as transformers' pipeline calls it for CTC


def test_the_blank_is_not_removed_before_repetitions_are_merged(tmp_path):
    write_vocabulary(tmp_path, LETTERS)
    assert '"<pad>"' not in (tmp_path / "tokenizer_config.json").read_text().split("additional_special_tokens")[1]
    assert all(token["content"] != "<pad>" for token in tokenizer_of(LETTERS)["added_tokens"])


@pytest.mark.parametrize(
    ("vocabulary", "heard", "words"),
    [
        (Vocabulary(["<pad>", "\u2581the", "\u2581d", "og"], 0, None), ["\u2581the", "\u2581d", "og"], ["the", "dog"]),
        (Vocabulary(["a", "ng", "<pad>"], 2, None), ["a", "ng", "ng", "<pad>", "ng"], ["a", "ng", "ng"]),
    ],
    ids=["pieces", "phonemes"],
)
def test_other_marks_of_words_in_sherpa_onnx(vocabulary, heard, words):
    indices = classes(vocabulary, heard)
    assert vocabulary.decode(np.array(indices)).split() == words
    assert sherpa(vocabulary, indices) == words


def test_what_a_format_cannot_express_is_not_written(tmp_path: Path):
    ends = Vocabulary(["<pad>", "d", "og</w>"], 0, None)
    write_vocabulary(tmp_path, ends)
    assert {file.name for file in tmp_path.iterdir()} == {"vocab.json", "tokenizer_config.json"}
