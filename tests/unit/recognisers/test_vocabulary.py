"""Decoding against transformers' tokenizer."""

import json

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.vocabulary import read_vocabulary


def test_decodes_like_transformers(demo):
    tokenizer = Wav2Vec2CTCTokenizer(str(demo.folder / "vocab.json"))
    rng = np.random.default_rng(0)
    for _ in range(200):
        classes = np.repeat(rng.choice([0, 0, *range(4, 32)], size=30), rng.integers(1, 4, size=30))
        expected = " ".join(tokenizer.decode(classes).split())
        assert demo.front_end.vocabulary.decode(classes) == expected


def test_a_blank_separates_doubled_letters(demo):
    vocabulary = demo.front_end.vocabulary
    classes = [vocabulary.tokens.index(t) for t in ["L", "L", "<pad>", "L", "|", "|", "A", "<pad>", "|"]]
    assert vocabulary.decode(np.array(classes)) == "LL A"


def test_a_vocabulary_with_gaps_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "A": 2}))
    with pytest.raises(StableQuantError, match=r"vocab\.json"):
        read_vocabulary(tmp_path, 0)
