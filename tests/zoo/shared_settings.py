"""Settings, tokens and addresses that several published checkpoints share."""

HUB = "https://huggingface.co"
TORCHAUDIO = "https://github.com/pytorch/audio/blob/main/test/torchaudio_unittest/assets/wav2vec2"

LARGE = {"conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
RECIPE = {"ctc_loss_reduction": "mean", "mask_time_length": 10, "mask_feature_prob": 0.0, "layerdrop": 0.1}
WRITTEN = {"replace_word_delimiter_char": " ", "return_attention_mask": False, "do_normalize": True}
NAMED = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
NAMED_BY_RECIPE = {"unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "[PAD]"}
SPLIT = {"do_lower_case": False, "word_delimiter_token": "|"}
CTC = {"tokenizer_class": "Wav2Vec2CTCTokenizer"}
WITH_LM = {"processor_class": "Wav2Vec2ProcessorWithLM"}
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


def hub_pages(name: str, *files: str) -> list[str]:
    return [f"{HUB}/{name}/{file}" for file in files]
