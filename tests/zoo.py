"""Published CTC checkpoints: what is known of their files, and twins of tiny width with the same layout.

A fact comes from the addresses in ``sources``: pages of the hub (a file, a commit or a list of files), or copies of a
configuration in other projects. ``assumed`` names what these pages do not show and what was filled in from
transformers' defaults or from checkpoints of the same author. No file was copied: twins have random weights, and
a vocabulary of more than a hundred tokens is replaced by a shorter one of the same form.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCTC

HUB = "https://huggingface.co"
TORCHAUDIO = "https://github.com/pytorch/audio/blob/main/test/torchaudio_unittest/assets/wav2vec2"

TINY = {  # in place of the published widths; all else is as published
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "conv_dim": [8] * 7,
}
LARGE = {"conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
RECIPE = {"ctc_loss_reduction": "mean", "mask_time_length": 10, "mask_feature_prob": 0.0, "layerdrop": 0.1}
WRITTEN = {"replace_word_delimiter_char": " ", "return_attention_mask": False, "do_normalize": True}
NAMED = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
NAMED_BY_RECIPE = {"unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "[PAD]"}
SPLIT = {"do_lower_case": False, "word_delimiter_token": "|"}
CTC = {"tokenizer_class": "Wav2Vec2CTCTokenizer"}
WITH_LM = {"processor_class": "Wav2Vec2ProcessorWithLM"}
PHONEMES = {
    "phonemizer_lang": "en-us",
    "phonemizer_backend": "espeak",
    "tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer",
}
PREPROCESSOR = {
    "do_normalize": True,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}
UNMASKED = PREPROCESSOR | {"return_attention_mask": False}
FIRST = ["<pad>", "<s>", "</s>", "<unk>", "|"]
LIBRISPEECH = [*FIRST, *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
IPA = ["<s>", "<pad>", "</s>", "<unk>", *"nst\u0259la", "i\u02d0", "a\u026a", "t\u0283", "k", "\u0254\u02d0"]


@dataclass(frozen=True)
class Published:
    """A checkpoint and its files, as far as they differ from what transformers writes by default.

    Attributes
    ----------
    name: ``owner/name`` on the hub
    kind: ``model_type``
    config: what differs from transformers' defaults of this kind, without widths and numbers of layers
    tokens: ``vocab.json`` in the order of its classes, which may be shortened
    classes: classes of the published CTC head; None if not known
    tokenizer, special_tokens, added_tokens: contents of the tokenizer's files; None if there is no such file
    preprocessor: content of ``preprocessor_config.json``; None if there is none
    weights: name of the file of weights
    dtype: of the weights
    lacks: parameters that the file does not hold although transformers' model has them
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    tokens: Sequence[str]
    classes: int | None
    tokenizer: Mapping[str, Any] | None
    sources: Sequence[str]
    assumed: Sequence[str] = ()
    special_tokens: Mapping[str, Any] | None = field(default_factory=lambda: NAMED)
    added_tokens: Mapping[str, int] | None = None
    preprocessor: Mapping[str, Any] | None = field(default_factory=lambda: PREPROCESSOR)
    weights: str = "pytorch_model.bin"
    dtype: torch.dtype = torch.float32
    lacks: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Content of the twin's ``config.json``."""
        count = max([len(self.tokens), *(index + 1 for index in (self.added_tokens or {}).values())])
        blank = {"pad_token_id": self.tokens.index("[PAD]")} if "[PAD]" in self.tokens else {"pad_token_id": 0}
        written: dict[str, Any] = {"model_type": self.kind, "vocab_size": count} | blank | TINY | dict(self.config)
        defaults = CONFIG_MAPPING[self.kind](**written)
        name = type(AutoModelForCTC.from_config(defaults)).__name__
        return defaults.to_dict() | written | {"architectures": [name]}

    def write(self, folder: Path) -> Path:
        """Write the twin into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        torch.manual_seed(zlib.adler32(self.name.encode()))  # each twin has weights of its own
        write_model(folder, settings, self.weights, self.dtype, self.lacks, self.silent(settings))
        vocabulary = {token: index for index, token in enumerate(self.tokens)}
        for file, content in (
            ("vocab.json", vocabulary),
            ("tokenizer_config.json", self.tokenizer),
            ("special_tokens_map.json", self.special_tokens),
            ("added_tokens.json", self.added_tokens),
            ("preprocessor_config.json", self.preprocessor),
        ):
            if content is not None:
                (folder / file).write_text(json.dumps(content), encoding="utf-8")
        if WITH_LM.items() & (dict(self.tokenizer or {}) | dict(self.preprocessor or {})).items():
            labels = ["" if token == "[PAD]" else token.replace("|", " ") for token in self.tokens]
            (folder / "alphabet.json").write_text(json.dumps({"labels": labels, "is_bpe": False}), encoding="utf-8")
            (folder / "language_model").mkdir()
            (folder / "language_model/attrs.json").write_text('{"alpha": 0.5, "beta": 1.5}', encoding="utf-8")
        return folder

    def silent(self, settings: Mapping[str, Any]) -> list[int]:
        """Classes that a trained head never chooses: markers other than the blank."""
        classes = {token: index for index, token in enumerate(self.tokens)} | dict(self.added_tokens or {})
        markers = [index for token, index in classes.items() if (token[0], token[-1]) in {("<", ">"), ("[", "]")}]
        return [index for index in markers if index != settings["pad_token_id"]]


def write_model(
    folder: Path,
    settings: Mapping[str, Any],
    weights: str,
    dtype: torch.dtype,
    lacks: Sequence[str],
    silent: Sequence[int],
) -> None:
    """A random model of these ``settings``, its norms and biases random too; weight norms have the names of 2021."""
    model = AutoModelForCTC.from_config(CONFIG_MAPPING[settings["model_type"]].from_dict(dict(settings))).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data = 0.1 * torch.randn_like(parameter) + (1 if name.endswith("norm.weight") else 0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    model.lm_head.weight.data *= 20
    model.lm_head.bias.data[list(silent)] = -1e3
    tensors = {}
    for name, values in model.state_dict().items():
        old = name.replace("parametrizations.weight.original0", "weight_g")
        old = old.replace("parametrizations.weight.original1", "weight_v")
        if not name.endswith(tuple(lacks)):
            tensors[old] = values.to(dtype).clone() if values.is_floating_point() else values.clone()
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    if weights.endswith(".bin"):
        torch.save(tensors, folder / weights)
    else:
        save_file(tensors, folder / weights, {"format": "pt"})


def clips() -> list[np.ndarray]:
    """Noise of different lengths and loudness, with an offset."""
    random = np.random.default_rng(0)
    return [
        (loudness * random.standard_normal(length) + 0.01).astype(np.float32)
        for length, loudness in ((8000, 0.1), (5003, 0.3), (2000, 0.02))
    ]


def _hub(name: str, *files: str) -> list[str]:
    return [f"{HUB}/{name}/{file}" for file in files]


ZOO = [
    Published(
        "facebook/wav2vec2-base-960h",
        "wav2vec2",
        {"mask_time_prob": 0.05, "gradient_checkpointing": False, "hidden_dropout_prob": 0.1},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | CTC,
        [
            *_hub("facebook/wav2vec2-base-960h", "blame/main/config.json"),
            f"{TORCHAUDIO}/huggingface/wav2vec2-base-960h.json",
            *_hub("hsali/m_seq_data_type", "commit/643c7f60c5981bc855aa8a9a9e9d2ffec1b73787"),
        ],
        ["model.safetensors", "that it lacks masked_spec_embed, from reports of users"],
        preprocessor=UNMASKED,
        lacks=("masked_spec_embed",),
        weights="model.safetensors",
    ),
    Published(
        "facebook/wav2vec2-base-100h",
        "wav2vec2",
        {"mask_time_prob": 0.05},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | CTC,
        _hub("facebook/wav2vec2-base-100h", "blob/refs%2Fpr%2F2/tokenizer_config.json"),
        ["config.json, as of wav2vec2-base-960h"],
        preprocessor=UNMASKED,
    ),
    Published(
        "facebook/wav2vec2-large-960h",
        "wav2vec2",
        {"mask_time_prob": 0.05, "conv_bias": False},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        [f"{TORCHAUDIO}/huggingface/wav2vec2-large-960h.json"],
        ["the tokenizer's files, as of wav2vec2-base-960h", "masked_spec_embed is missing, from users' reports"],
        preprocessor=UNMASKED,
        lacks=("masked_spec_embed",),
    ),
    Published(
        "facebook/wav2vec2-large-960h-lv60-self",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05, "gradient_checkpointing": False},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | {"return_attention_mask": True} | CTC,
        [
            f"{TORCHAUDIO}/huggingface/wav2vec2-large-960h-lv60-self.json",
            *_hub("speech-seq2seq/flax-wav2vec2-large-lv60-scan", "commit/6b39aa38066cf32b713131257578cf7d3284f486"),
        ],
    ),
    Published(
        "facebook/wav2vec2-large-960h-lv60",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        [f"{TORCHAUDIO}/fairseq/wav2vec_large_lv60k_960h.json"],
        ["all files of the hub, as of wav2vec2-large-960h-lv60-self"],
    ),
    Published(
        "facebook/wav2vec2-large-robust-ft-libri-960h",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,  # 181 bytes, the published size
        _hub("facebook/wav2vec2-large-robust-ft-libri-960h", "tree/main"),
        ["config.json"],
        weights="model.safetensors",
    ),
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
        _hub("jonatasgrosman/wav2vec2-large-xlsr-53-english", "tree/64967ea6782efb0b7c330dea2c2042f3172e0e1f"),
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
        _hub(
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
        _hub(
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
        _hub("KBLab/wav2vec2-large-voxrex-swedish", "blob/main/tokenizer_config.json"),
        ["that the letters are upper-case, which do_lower_case suggests, and their order"],
    ),
    Published(
        "gchhablani/wav2vec2-large-xlsr-hu",
        "wav2vec2",
        LARGE | RECIPE | {"mask_time_prob": 0.05},
        [*LETTERS, "\u00e1", "\u00e9", "\u0151", "\u0171", "|", "[UNK]", "[PAD]"],
        None,
        NAMED_BY_RECIPE | SPLIT,
        _hub("gchhablani/wav2vec2-large-xlsr-hu", "commit/cbfa692d20d4eefce1fde89b868c6b113023f81c"),
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
            *_hub(
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
        _hub("aware-ai/wav2vec2-xls-r-1b-german", "blame/main/tokenizer_config.json"),
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
        _hub(
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
        _hub(
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
        _hub("tsrivatsav/wav2vec2-large-xls-r-300m-en-libri-more-steps", "blob/main/tokenizer_config.json"),
        ["the vocabulary"],
        special_tokens=None,
    ),
    Published(
        "facebook/hubert-large-ls960-ft",
        "hubert",
        LARGE | {"mask_time_prob": 0.05, "feat_proj_layer_norm": True, "gradient_checkpointing": False},
        LIBRISPEECH,
        32,
        NAMED | SPLIT,
        [
            *_hub(
                "helenai/facebook-hubert-large-ls960-ft-ov",
                "blame/b14e656e9c740213153cbe283ae11c84b80b8f00/config.json",
            ),
            f"{TORCHAUDIO}/fairseq/hubert_large_ll60k_finetune_ls960.json",
        ],
        ["the tokenizer's files, as of hubert-xlarge-ls960-ft"],
    ),
    Published(
        "facebook/hubert-xlarge-ls960-ft",
        "hubert",
        LARGE | {"mask_time_prob": 0.05},
        LIBRISPEECH,
        32,
        NAMED | SPLIT,  # 138 bytes, the published size: no tokenizer_class
        [
            *_hub("facebook/hubert-xlarge-ls960-ft", "tree/83a54c1d23da8431f293050f359237a6d40bc0a5"),
            f"{TORCHAUDIO}/fairseq/hubert_xtralarge_ll60k_finetune_ls960.json",
        ],
        ["config.json but for its size"],
    ),
    Published(
        "patrickvonplaten/wavlm-libri-clean-100h-base-plus",
        "wavlm",
        {"mask_time_prob": 0.05, "num_buckets": 320, "max_bucket_distance": 800, "add_adapter": False} | CTC,
        [*LETTERS, "|", "[UNK]", "[PAD]"],
        31,
        NAMED_BY_RECIPE | SPLIT | {"special_tokens_map_file": None} | CTC,
        [
            *_hub(
                "patrickvonplaten/wavlm-libri-clean-100h-base-plus",
                "blob/main/added_tokens.json",
                "blob/561f43a6081f379876b6633a38526aabe140ba3b/tokenizer_config.json",
            ),
            f"{TORCHAUDIO}/huggingface/wavlm-base.json",
        ],
        ["the order of the letters; 29 tokens stand before <s> and </s>"],
        special_tokens=NAMED_BY_RECIPE,
        added_tokens={"<s>": 29, "</s>": 30},
        preprocessor=UNMASKED,
    ),
    Published(
        "patrickvonplaten/wavlm-libri-clean-100h-large",
        "wavlm",
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": False, "mask_time_prob": 0.075},
        [*LETTERS, "|", "[UNK]", "[PAD]"],
        31,
        NAMED_BY_RECIPE | SPLIT | CTC,
        [
            *_hub("patrickvonplaten/wavlm-libri-clean-100h-large", "blob/refs%2Fpr%2F3/tokenizer_config.json"),
            f"{TORCHAUDIO}/huggingface/wavlm-large.json",
        ],
        ["added_tokens.json, as of the base model"],
        special_tokens=NAMED_BY_RECIPE,
        added_tokens={"<s>": 29, "</s>": 30},
    ),
    Published(
        "facebook/data2vec-audio-base-960h",
        "data2vec-audio",
        {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5, "mask_time_prob": 0.05, "conv_bias": False},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        _hub("mazkooleg/digit-mask-data2vec-audio-base-960h-ft", "blob/main/config.json"),
        ["the tokenizer's files, as of wav2vec2-base-960h"],
    ),
    Published(
        "facebook/data2vec-audio-large-960h",
        "data2vec-audio",
        {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5, "mask_time_prob": 0.05},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        [],
        ["all: as of the base model, and half precision and safetensors, which some owners publish"],
        dtype=torch.bfloat16,
        weights="model.safetensors",
    ),
    Published(
        "facebook/wav2vec2-conformer-rel-pos-large-960h-ft",
        "wav2vec2-conformer",
        LARGE
        | {
            "position_embeddings_type": "relative",
            "hidden_act": "swish",
            "mask_time_prob": 0.05,
            "conv_depthwise_kernel_size": 31,
            "add_adapter": False,
        },
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        [
            *_hub(
                "facebook/wav2vec2-conformer-rel-pos-large-960h-ft", "commit/96f2c2f35723b68403d8942c1036bb0c9150346e"
            ),
            *_hub("aryamtos/wav2vec2-conformer-rel-pos-large-speech-commands", "blob/main/config.json"),
        ],
        ["the tokenizer's files, as of wav2vec2-large-960h-lv60-self"],
    ),
    Published(
        "facebook/wav2vec2-conformer-rope-large-960h-ft",
        "wav2vec2-conformer",
        LARGE
        | {
            "position_embeddings_type": "rotary",
            "hidden_act": "swish",
            "mask_time_prob": 0.05,
            "conv_depthwise_kernel_size": 31,
            "add_adapter": False,
        },
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        _hub(
            "facebook/wav2vec2-conformer-rope-large-960h-ft",
            "blame/f29584f4455160df1547df09757a32c7e0566de6/config.json",
        ),
        ["the tokenizer's files", "that the unused pos_conv_embed and the counters of batch norms may be missing"],
        lacks=("num_batches_tracked", "pos_conv_embed.conv.bias", "original0", "original1"),
    ),
    Published(
        "facebook/wav2vec2-lv-60-espeak-cv-ft",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05, "pad_token_id": 1},
        IPA,
        392,
        NAMED | {"phonemizer_lang": "en-us", "phonemizer_backend": "espeak", "do_lower_case": False} | PHONEMES,
        _hub(
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
        _hub("facebook/wav2vec2-xlsr-53-espeak-cv-ft", "blob/refs%2Fpr%2F7/tokenizer_config.json"),
        ["whether the vocabulary holds the delimiter that the tokenizer names", "the number of classes"],
    ),
    Published(
        "voidful/wav2vec2-xlsr-53-espeak-librispeech-ft",
        "wav2vec2",
        LARGE | {"mask_time_prob": 0.05},
        [*FIRST, *IPA[4:]],
        392,
        NAMED | SPLIT | {"replace_word_delimiter_char": " ", "phonemizer_lang": "en-us"} | CTC,
        _hub("voidful/wav2vec2-xlsr-53-espeak-librispeech-ft", "blob/refs%2Fpr%2F1/tokenizer_config.json"),
        ["the vocabulary, as of wav2vec2-xlsr-53-espeak-cv-ft"],
    ),
    Published(
        "Clementapa/wav2vec2-base-960h-phoneme-reco-dutch",
        "wav2vec2",
        {"mask_time_prob": 0.05},
        ["<pad>", "<s>", "</s>", "<unk>", "|", "a\u02d0", "\u0263", "\u0153y", "\u025bi", "n", "t", "\u0259"],
        None,
        NAMED | {"do_phonemize": False, "phone_delimiter_token": " ", "word_delimiter_token": "|"} | PHONEMES,
        _hub("Clementapa/wav2vec2-base-960h-phoneme-reco-dutch", "blob/main/tokenizer_config.json"),
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
        _hub(
            "slplab/wav2vec2-xls-r-300m_phone-mfa_korean",
            "blame/b34ee4f1643a814621fbfab0aca89e45c344e71e/tokenizer_config.json",
        ),
        ["the vocabulary"],
        special_tokens=NAMED_BY_RECIPE,
    ),
    Published(
        "microsoft/unispeech-sat-base-100h-libri-ft",
        "unispeech-sat",
        {"mask_time_prob": 0.05, "num_clusters": 504},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | CTC,
        _hub("microsoft/unispeech-sat-base-100h-libri-ft", "tree/594a974aea7866319ed302cbab5b4a5809f69764")
        + _hub("hf-internal-testing/tiny-random-UniSpeechSatForCTC", "blob/main/tokenizer_config.json")
        + _hub("patrickvonplaten/sat-base", "blame/413c384249393634857d45a7b23832fe19b56ebc/config.json"),
        ["config.json, as of a fine-tuned copy of unispeech-sat-base"],
        preprocessor=UNMASKED,
    ),
    Published(
        "microsoft/unispeech-1350-en-17h-ky-ft-1h",
        "unispeech",
        LARGE | {"mask_time_prob": 0.05},
        [*FIRST, "a", "i\u02d0", "\u0268", "\u0281", "q", "t\u0361\u0283", "\u0259"],
        None,
        NAMED | SPLIT | CTC,
        _hub("microsoft/unispeech-1350-en-17h-ky-ft-1h", "tree/main")
        + _hub("jonatasgrosman/exp_w2v2t_it_unispeech_s626", "blame/main/config.json"),
        ["the vocabulary and the tokenizer's settings"],
        weights="model.safetensors",
    ),
]

NAMES = {published.name: published for published in ZOO}

MMS_ALIGNER = Published(
    "MahmoudAshraf/mms-300m-1130-forced-aligner",
    "wav2vec2",
    LARGE | {"mask_time_prob": 0.0},
    ["<blank>", "<pad>", "</s>", "<unk>", *"aienotksurmhlgypbdvwfcjz'qx"],
    31,
    NAMED | {"bos_token": None, "word_delimiter_token": None} | CTC,
    _hub(
        "MahmoudAshraf/mms-300m-1130-forced-aligner",
        "tree/4f7a07cca1641a8e518040072ee237cd0224c65a",
        "blob/main/special_tokens_map.json",
    ),
    ["the order of the letters; the tokenizer's settings beside its special tokens"],
    special_tokens={"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
    preprocessor=None,  # there is none, so it is refused until one is added
    weights="model.safetensors",
)

FAIRSEQ = {  # file -> architecture of `fairseq_files`, and what its settings say; in FAIRSEQ_SOURCES
    "wav2vec_small_960h.pt": ("wav2vec2", {"feat_extract_norm": "group", "do_stable_layer_norm": False}),
    "wav2vec_big_960h.pt": ("wav2vec2", {"feat_extract_norm": "group", "do_stable_layer_norm": False}),
    "wav2vec_vox_960h_pl.pt": (
        "wav2vec2",
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    ),
    "wav2vec2_vox_960h_new.pt": (
        "wav2vec2",
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    ),
    "hubert_large_ll60k_finetune_ls960.pt": ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert_xtralarge_ll60k_finetune_ls960.pt": (
        "hubert",
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    ),
}
FAIRSEQ_SOURCES = [
    "https://github.com/facebookresearch/fairseq/blob/main/examples/hubert/README.md",
    "https://github.com/facebookresearch/fairseq/blob/main/examples/wav2vec/README.md",
    f"{TORCHAUDIO}/fairseq/wav2vec_small_960h.json",
    f"{TORCHAUDIO}/fairseq/wav2vec_large_lv60k_self_960h.json",
    f"{TORCHAUDIO}/fairseq/hubert_large_ll60k_finetune_ls960.json",
    f"{TORCHAUDIO}/fairseq/hubert_xtralarge_ll60k_finetune_ls960.json",
]
