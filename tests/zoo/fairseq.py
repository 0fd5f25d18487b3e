"""Files that fairseq publishes, and what is known of their settings."""

from zoo.shared_settings import TORCHAUDIO

GROUP_NORM = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
WITH_BIAS = LAYER_NORM | {"conv_bias": True}

FAIRSEQ = {  # file -> architecture of `fairseq_files`, and what its settings say; in FAIRSEQ_SOURCES
    "wav2vec_small_960h.pt": ("wav2vec2", GROUP_NORM),
    "wav2vec_big_960h.pt": ("wav2vec2", GROUP_NORM),
    "wav2vec_vox_960h_pl.pt": ("wav2vec2", WITH_BIAS),
    "wav2vec2_vox_960h_new.pt": ("wav2vec2", WITH_BIAS),
    "hubert_large_ll60k_finetune_ls960.pt": ("hubert", LAYER_NORM),
    "hubert_xtralarge_ll60k_finetune_ls960.pt": ("hubert", LAYER_NORM),
}
FAIRSEQ_SOURCES = [
    "https://github.com/facebookresearch/fairseq/blob/main/examples/hubert/README.md",
    "https://github.com/facebookresearch/fairseq/blob/main/examples/wav2vec/README.md",
    f"{TORCHAUDIO}/fairseq/wav2vec_small_960h.json",
    f"{TORCHAUDIO}/fairseq/wav2vec_large_lv60k_self_960h.json",
    f"{TORCHAUDIO}/fairseq/hubert_large_ll60k_finetune_ls960.json",
    f"{TORCHAUDIO}/fairseq/hubert_xtralarge_ll60k_finetune_ls960.json",
]
