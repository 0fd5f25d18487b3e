"""Recognisers that write phonemes."""

from zoo.shared_settings import CTC, FIRST, LARGE, NAMED, NAMED_BY_RECIPE, RECIPE, SPLIT, UNMASKED, hub_pages
from zoo.twin import Published

PHONEMES = {
    "phonemizer_lang": "en-us",
    "phonemizer_backend": "espeak",
    "tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer",
}
IPA = ["<s>", "<pad>", "</s>", "<unk>", *"nst\u0259la", "i\u02d0", "a\u026a", "t\u0283", "k", "\u0254\u02d0"]

CHECKPOINTS = [
    Published(
        "facebook/wav2vec2-lv-60-espeak-cv-ft",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05, "pad_token_id": 1},
        IPA,
        392,
        NAMED | {"phonemizer_lang": "en-us", "phonemizer_backend": "espeak", "do_lower_case": False} | PHONEMES,
        hub_pages(
            "facebook/wav2vec2-lv-60-espeak-cv-ft",
            "blob/ae45363bf3413b374fecd9dc8bc1df0e24c3b7f4/tokenizer_config.json",
            "blob/1d6bece5dc188f856a6f140e6ea2c6ba4a83751b/special_tokens_map.json",
        ),
        ["the order of the special tokens: a pad token that is class 1 is tried here", "the number of classes"],
    ),
    Published(
        "facebook/wav2vec2-xlsr-53-espeak-cv-ft",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        ["<pad>", "<s>", "</s>", "<unk>", "|", *IPA[4:]],
        392,
        NAMED | {"word_delimiter_token": "|", "do_lower_case": False, "tokenizer_file": None} | PHONEMES,
        hub_pages("facebook/wav2vec2-xlsr-53-espeak-cv-ft", "blob/refs%2Fpr%2F7/tokenizer_config.json"),
        ["whether the vocabulary holds the delimiter that the tokenizer names", "the number of classes"],
    ),
    Published(
        "voidful/wav2vec2-xlsr-53-espeak-librispeech-ft",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        [*FIRST, *IPA[4:]],
        392,
        NAMED | SPLIT | {"replace_word_delimiter_char": " ", "phonemizer_lang": "en-us"} | CTC,
        hub_pages("voidful/wav2vec2-xlsr-53-espeak-librispeech-ft", "blob/refs%2Fpr%2F1/tokenizer_config.json"),
        ["the vocabulary, as of wav2vec2-xlsr-53-espeak-cv-ft"],
    ),
    Published(
        "Clementapa/wav2vec2-base-960h-phoneme-reco-dutch",
        "wav2vec2",
        {"mask_time_prob": 0.05},
        ["<pad>", "<s>", "</s>", "<unk>", "|", "a\u02d0", "\u0263", "\u0153y", "\u025bi", "n", "t", "\u0259"],
        None,
        NAMED | {"do_phonemize": False, "phone_delimiter_token": " ", "word_delimiter_token": "|"} | PHONEMES,
        hub_pages("Clementapa/wav2vec2-base-960h-phoneme-reco-dutch", "blob/main/tokenizer_config.json"),
        ["the vocabulary"],
        preprocessor=UNMASKED,
    ),
    Published(
        "slplab/wav2vec2-xls-r-300m_phone-mfa_korean",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        ["A", "B", "BB", "CHh", "D", "EO", "EU", "G", "GG", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE
        | {"do_phonemize": False, "phone_delimiter_token": "|", "word_delimiter_token": None}
        | PHONEMES,
        hub_pages(
            "slplab/wav2vec2-xls-r-300m_phone-mfa_korean",
            "blame/b34ee4f1643a814621fbfab0aca89e45c344e71e/tokenizer_config.json",
        ),
        ["the vocabulary"],
        special_tokens=NAMED_BY_RECIPE,
    ),
]
