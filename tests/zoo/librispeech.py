"""wav2vec 2.0 fine-tuned on LibriSpeech by its authors."""

from zoo.shared_settings import CTC, LARGE, LIBRISPEECH, NAMED, SPLIT, TORCHAUDIO, UNMASKED, WRITTEN, hub_pages
from zoo.twin import Published

CHECKPOINTS = [
    Published(
        "facebook/wav2vec2-base-960h",
        "wav2vec2",
        {"mask_time_prob": 0.05, "gradient_checkpointing": False, "hidden_dropout_prob": 0.1},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | CTC,
        [
            *hub_pages("facebook/wav2vec2-base-960h", "blame/main/config.json"),
            f"{TORCHAUDIO}/huggingface/wav2vec2-base-960h.json",
            *hub_pages("hsali/m_seq_data_type", "commit/643c7f60c5981bc855aa8a9a9e9d2ffec1b73787"),
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
        hub_pages("facebook/wav2vec2-base-100h", "blob/refs%2Fpr%2F2/tokenizer_config.json"),
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
            *hub_pages(
                "speech-seq2seq/flax-wav2vec2-large-lv60-scan", "commit/6b39aa38066cf32b713131257578cf7d3284f486"
            ),
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
        hub_pages("facebook/wav2vec2-large-robust-ft-libri-960h", "tree/main"),
        ["config.json"],
        weights="model.safetensors",
    ),
]
