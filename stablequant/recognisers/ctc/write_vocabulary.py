"""Write the vocabulary of a CTC recogniser, for StableQuant and for the libraries that open its bundle."""

from pathlib import Path

from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.ctc.word_marks import SENTENCEPIECE
from stablequant.storage.files import write_json, write_text

TOKENS = "tokens.txt"  # sherpa-onnx
TOKENIZER = "tokenizer.json"  # transformers.js and the library tokenizers
ROLES = {"bos_token": ("<s>",), "eos_token": ("</s>",), "unk_token": ("<unk>", "[UNK]")}


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write the files that `read_vocabulary` reads, and `TOKENS` and `TOKENIZER` if these formats can express it.

    The index of the blank is in the model's config. The blank is not among the special tokens: libraries would remove
    it before they merge repetitions, and double letters would become one.
    """
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(vocabulary.tokens)})
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": vocabulary.tokens[vocabulary.blank],
            **{role: _first_of(names, vocabulary) for role, names in ROLES.items()},
            "word_delimiter_token": vocabulary.delimiter,
            "additional_special_tokens": [vocabulary.tokens[index] for index in _special(vocabulary)],
            "clean_up_tokenization_spaces": False,
        },
    )
    tokenizer, symbols = tokenizer_of(vocabulary), symbols_of(vocabulary)
    if tokenizer is not None:
        write_json(folder / TOKENIZER, tokenizer)
    if symbols is not None:
        lines = [f"{symbol} {index}\n" for index, symbol in enumerate(symbols)]
        write_text(folder / TOKENS, "".join(lines))


def tokenizer_of(vocabulary: Vocabulary) -> dict[str, object] | None:
    """The content of `TOKENIZER`, in the format of the library tokenizers. None if no token marks where words begin."""
    pieces = any(SENTENCEPIECE in token for token in vocabulary.tokens)
    delimiter = vocabulary.delimiter or (SENTENCEPIECE if pieces else None)
    if delimiter is None:
        return None
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": i, "content": vocabulary.tokens[i], **plain, "special": True} for i in _special(vocabulary)]
    blank = vocabulary.tokens[vocabulary.blank]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {"type": "CTC", "pad_token": blank, "word_delimiter_token": delimiter, "cleanup": True},
        "model": {
            "type": "WordLevel",
            "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
            "unk_token": _first_of(ROLES["unk_token"], vocabulary) or blank,
        },
    }


def symbols_of(vocabulary: Vocabulary) -> list[str] | None:
    """The symbol of each class in `TOKENS`; None if sherpa-onnx could not write the words.

    It can only write a space in front of a symbol, which is marked as SentencePiece does.
    """
    texts = [vocabulary.written(index) for index in range(len(vocabulary.tokens))]
    if all(text.endswith(" ") for text in texts if text):  # every token is a word
        texts = [f" {text[:-1]}" if text else text for text in texts]
    symbols = []
    for index, token in enumerate(vocabulary.tokens):
        text = "<blk>" if index == vocabulary.blank else texts[index] or token
        symbol = SENTENCEPIECE + text[1:] if text.startswith(" ") else text
        if not symbol or any(character.isspace() for character in symbol):
            return None
        symbols.append(symbol)
    return symbols


def _special(vocabulary: Vocabulary) -> list[int]:
    """The classes that are never written, without the blank."""
    return [i for i, token in enumerate(vocabulary.tokens) if token in vocabulary.special and i != vocabulary.blank]


def _first_of(names: tuple[str, ...], vocabulary: Vocabulary) -> str | None:
    return next((name for name in names if name in vocabulary.tokens), None)
