"""XLSR-53, XLS-R and VoxRex, fine-tuned by their users, and an aligner of MMS."""

import torch
from zoo.shared_settings import (
    CTC,
    FIRST,
    LARGE,
    LETTERS,
    NAMED,
    NAMED_BY_RECIPE,
    PREPROCESSOR,
    RECIPE,
    SPLIT,
    TORCHAUDIO,
    WITH_LM,
    hub_pages,
)
from zoo.twin import Published

CHECKPOINTS = [
    Published(
        "facebook/wav2vec2-large-xlsr-53-german",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        [*FIRST, *"enisrtahdulcgmobwfkzpvjyxq\u00fc\u00e4\u00f6\u00df'"],
        36,
        NAMED | SPLIT | CTC,
        [f"{TORCHAUDIO}/huggingface/facebook/wav2vec2-large-xlsr-53-german.json"],
        ["the letters and their order; their number is known"],
    ),
    Published(
        "jonatasgrosman/wav2vec2-large-xlsr-53-english",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [*FIRST, "'", "-", *LETTERS],
        33,
        None,
        hub_pages("jonatasgrosman/wav2vec2-large-xlsr-53-english", "tree/64967ea6782efb0b7c330dea2c2042f3172e0e1f"),
        ["the order of the letters", "the number of classes"],
        preprocessor={
            "do_normalize": True,
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": 16000,
        },  # 158 bytes: no feature_extractor_type
    ),
    Published(
        "jonatasgrosman/wav2vec2-large-xlsr-53-german",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [*FIRST, "'", "-", *LETTERS, "\u00e4", "\u00f6", "\u00fc"],
        None,
        NAMED | SPLIT | {"special_tokens_map_file": "/home/cache/9b704b", "tokenizer_file": None} | CTC,
        hub_pages(
            "aware-ai/wav2vec2-large-xlsr-53-german-with-lm",
            "blob/4d1abcaa47901b2741710919989c4e2ffa1cb345/tokenizer_config.json",
        ),
        ["the vocabulary"],
    ),
    Published(
        "jonatasgrosman/wav2vec2-large-xlsr-53-italian",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [*FIRST, "'", "-", *LETTERS, "\u00e0", "\u00e8", "\u00e9", "\u00ec", "\u00f2", "\u00f9"],
        None,
        None,
        [],
        ["all but Wav2Vec2ProcessorWithLM, which another project's notes quote"],
        preprocessor=PREPROCESSOR | WITH_LM,
    ),
    Published(
        "oliverguhr/wav2vec2-large-xlsr-53-german-cv9",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        ["|", *LETTERS, "\u00df", "\u00e4", "\u00f6", "\u00fc", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT | WITH_LM | CTC,
        [],
        ["all but Wav2Vec2ProcessorWithLM, which another project's notes quote; the rest is transformers' recipe"],
        special_tokens=NAMED_BY_RECIPE,
        preprocessor=PREPROCESSOR | WITH_LM,
    ),
    Published(
        "kresnik/wav2vec2-large-xlsr-korean",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        ["\uac00", "\ub098", "\ub2e4", "\ub77c", "\ub9c8", "\ubc14", "|", "\uc0ac", "\uc544", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | {"do_lower_case": True, "word_delimiter_token": "|", "tokenizer_file": None},
        hub_pages(
            "kresnik/wav2vec2-large-xlsr-korean",
            "blob/b4cd6581831294176816979e497b47578e23fed8/tokenizer_config.json",
            "commits/15d0000d4ba9fe211d87ceaea2427b0e93ec8b36",
        ),
        ["the order of the vocabulary, which has about 1,200 syllables"],
        special_tokens=None,  # there is only special_tokens_map.config
    ),
    Published(
        "KBLab/wav2vec2-large-voxrex-swedish",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        [*FIRST, *"EANRTSILDOMKGVHF\u00c4UP\u00c5\u00d6BCYJXWZ\u00c9Q"],
        None,
        NAMED | {"do_lower_case": True, "word_delimiter_token": "|"} | CTC,
        hub_pages("KBLab/wav2vec2-large-voxrex-swedish", "blob/main/tokenizer_config.json"),
        ["that the letters are upper-case, which do_lower_case suggests, and their order"],
    ),
    Published(
        "gchhablani/wav2vec2-large-xlsr-hu",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [*LETTERS, "\u00e1", "\u00e9", "\u0151", "\u0171", "|", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT,
        hub_pages("gchhablani/wav2vec2-large-xlsr-hu", "commit/cbfa692d20d4eefce1fde89b868c6b113023f81c"),
        ["the vocabulary and the tokenizer's tokens, as by transformers' recipe"],
        special_tokens=NAMED_BY_RECIPE,
    ),
    Published(
        "AndrewMcDowell/wav2vec2-xls-r-1B-german",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.075, "use_weighted_layer_sum": False},
        ["|", *LETTERS, "\u00e4", "\u00f6", "\u00fc", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT | {"special_tokens_map_file": None} | WITH_LM | CTC,
        [
            *hub_pages(
                "AndrewMcDowell/wav2vec2-xls-r-1B-german",
                "blob/9aecf355210943bcfdc4653f9982f3c9f3a9bc05/tokenizer_config.json",
            ),
            f"{TORCHAUDIO}/huggingface/wav2vec2-xls-r-1b.json",
        ],
        ["the vocabulary", "weights in half precision, which some owners publish"],
        special_tokens=NAMED_BY_RECIPE,
        dtype=torch.float16,
    ),
    Published(
        "aware-ai/wav2vec2-xls-r-1b-german",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.075},
        ["|", *LETTERS, "\u00e4", "\u00f6", "\u00fc", "\u00df", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT | {"config": None, "tokenizer_type": "wav2vec2"} | CTC,
        hub_pages("aware-ai/wav2vec2-xls-r-1b-german", "blame/main/tokenizer_config.json"),
        ["the vocabulary"],
        special_tokens=NAMED_BY_RECIPE,
    ),
    Published(
        "1ucky40nc3/wav2vec2-large-xls-r-300m-german-colab",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        ["|", *LETTERS, "\u00e4", "[UNK]", "[PAD]"],
        183,
        NAMED_BY_RECIPE | SPLIT | CTC,
        hub_pages(
            "1ucky40nc3/wav2vec2-large-xls-r-300m-german-colab",
            "blob/a1691247984367eb73a9394806e269580cfde644/added_tokens.json",
        ),
        ["the vocabulary, of which 181 tokens come before <s> and </s>"],
        special_tokens=NAMED_BY_RECIPE
        | {
            "additional_special_tokens": [
                {"content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
                for t in ("<s>", "</s>")
            ]
        },
        added_tokens={"</s>": 31, "<s>": 30},
    ),
    Published(
        "AndrewMcDowell/wav2vec2-xls-r-300m-japanese",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.75, "mask_feature_prob": 0.25},
        ["\u3042", "\u3044", "\u3046", "\u65e5", "\u672c", "\u8a9e", "|", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT | CTC,
        hub_pages(
            "AndrewMcDowell/wav2vec2-xls-r-300m-japanese",
            "blob/67670444abc91502340579c6680e6e8cae24a0e6/tokenizer_config.json",
        ),
        ["the vocabulary and the probabilities of masks"],
        special_tokens=NAMED_BY_RECIPE,
    ),
    Published(
        "tsrivatsav/wav2vec2-large-xls-r-300m-en-libri-more-steps",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [" ", *LETTERS, "'", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | {"unk_token": "<unk>", "do_lower_case": False, "word_delimiter_token": " "} | CTC,
        hub_pages("tsrivatsav/wav2vec2-large-xls-r-300m-en-libri-more-steps", "blob/main/tokenizer_config.json"),
        ["the vocabulary"],
        special_tokens=None,
    ),
]

MMS_ALIGNER = Published(
    "MahmoudAshraf/mms-300m-1130-forced-aligner",
    "wav2vec2",
    LARGE | {"mask_time_prob": 0.0},
    ["<blank>", "<pad>", "</s>", "<unk>", *"aienotksurmhlgypbdvwfcjz'qx"],
    31,
    NAMED | {"bos_token": None, "word_delimiter_token": None} | CTC,
    hub_pages(
        "MahmoudAshraf/mms-300m-1130-forced-aligner",
        "tree/4f7a07cca1641a8e518040072ee237cd0224c65a",
        "blob/main/special_tokens_map.json",
    ),
    ["the order of the letters; the tokenizer's settings beside its special tokens"],
    special_tokens={"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
    preprocessor=None,  # there is none, so it is refused until one is added
    weights="model.safetensors",
)
