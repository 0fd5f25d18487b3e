"""Other kinds than wav2vec 2.0: HuBERT, WavLM, data2vec, conformers and UniSpeech."""

import torch
from zoo.shared_settings import (
    CTC,
    FIRST,
    LARGE,
    LETTERS,
    LIBRISPEECH,
    NAMED,
    NAMED_BY_RECIPE,
    SPLIT,
    TORCHAUDIO,
    UNMASKED,
    WRITTEN,
    hub_pages,
)
from zoo.twin import Published

CONFORMER = LARGE | {
    "hidden_act": "swish",
    "mask_time_prob": 0.05,
    "conv_depthwise_kernel_size": 31,
    "add_adapter": False,
}

CHECKPOINTS = [
    Published(
        "facebook/hubert-large-ls960-ft",
        "hubert",
        LARGE | {"mask_time_prob": 0.05, "feat_proj_layer_norm": True, "gradient_checkpointing": False},
        LIBRISPEECH,
        32,
        NAMED | SPLIT,
        [
            *hub_pages(
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
            *hub_pages("facebook/hubert-xlarge-ls960-ft", "tree/83a54c1d23da8431f293050f359237a6d40bc0a5"),
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
            *hub_pages(
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
            *hub_pages("patrickvonplaten/wavlm-libri-clean-100h-large", "blob/refs%2Fpr%2F3/tokenizer_config.json"),
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
        hub_pages("mazkooleg/digit-mask-data2vec-audio-base-960h-ft", "blob/main/config.json"),
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
        CONFORMER | {"position_embeddings_type": "relative"},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        [
            *hub_pages(
                "facebook/wav2vec2-conformer-rel-pos-large-960h-ft", "commit/96f2c2f35723b68403d8942c1036bb0c9150346e"
            ),
            *hub_pages("aryamtos/wav2vec2-conformer-rel-pos-large-speech-commands", "blob/main/config.json"),
        ],
        ["the tokenizer's files, as of wav2vec2-large-960h-lv60-self"],
    ),
    Published(
        "facebook/wav2vec2-conformer-rope-large-960h-ft",
        "wav2vec2-conformer",
        CONFORMER | {"position_embeddings_type": "rotary"},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | CTC,
        hub_pages(
            "facebook/wav2vec2-conformer-rope-large-960h-ft",
            "blame/f29584f4455160df1547df09757a32c7e0566de6/config.json",
        ),
        ["the tokenizer's files", "that the unused pos_conv_embed and the counters of batch norms may be missing"],
        lacks=("num_batches_tracked", "pos_conv_embed.conv.bias", "original0", "original1"),
    ),
    Published(
        "microsoft/unispeech-sat-base-100h-libri-ft",
        "unispeech-sat",
        {"mask_time_prob": 0.05, "num_clusters": 504},
        LIBRISPEECH,
        32,
        NAMED | SPLIT | WRITTEN | CTC,
        hub_pages("microsoft/unispeech-sat-base-100h-libri-ft", "tree/594a974aea7866319ed302cbab5b4a5809f69764")
        + hub_pages("hf-internal-testing/tiny-random-UniSpeechSatForCTC", "blob/main/tokenizer_config.json")
        + hub_pages("patrickvonplaten/sat-base", "blame/413c384249393634857d45a7b23832fe19b56ebc/config.json"),
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
        hub_pages("microsoft/unispeech-1350-en-17h-ky-ft-1h", "tree/main")
        + hub_pages("jonatasgrosman/exp_w2v2t_it_unispeech_s626", "blame/main/config.json"),
        ["the vocabulary and the tokenizer's settings"],
        weights="model.safetensors",
    ),
]
