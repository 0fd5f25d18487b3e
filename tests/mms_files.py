"""A tiny random recogniser with adapters for languages, in the layout of facebook/mms-1b-all.

That repository has ``adapter_attn_dim: 16``, ``do_stable_layer_norm: true`` and ``add_adapter: false`` in config.json
(seen in configs of its fine-tunes, such as patrickvonplaten/wav2vec2-large-mms-1b-turkish-colab). It has
``adapter.{language}.safetensors`` and ``.bin``, a vocabulary for each language in vocab.json, and ``target_lang: eng``
in tokenizer_config.json (seen in Xenova/mms-1b-l1107). That the weights in model.safetensors are those of English is
what transformers' documentation says; the published weights were not at hand.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC
from wav2vec2_files import tiny_model

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
LANGUAGES = {
    "eng": LETTERS,
    "azj-script_latin": [*LETTERS, *"\u0259\u011f\u0131\u00f6"],
    "azj-script_cyrillic": [*LETTERS[:5], *"\u0430\u0431\u0432\u0433\u0434\u0435"],
}


def write_tiny_mms(folder: Path, suffix: str = "safetensors") -> None:
    """A model with the adapter of English in its own weights, and a file for each language."""
    for number, (language, tokens) in enumerate(LANGUAGES.items()):
        model = tiny_model("wav2vec2", adapter_attn_dim=16, vocab_size=len(tokens))
        torch.manual_seed(number)
        state = {n: v for n, v in model.state_dict().items() if ".adapter_layer." in n or n.startswith("lm_head.")}
        for values in state.values():
            values.copy_(torch.randn_like(values) * 0.3)
        if language == "eng":
            model.save_pretrained(folder)
        if suffix == "safetensors":
            save_file(state, folder / f"adapter.{language}.{suffix}", {"format": "pt"})
        else:
            torch.save(state, folder / f"adapter.{language}.{suffix}")
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    vocabularies = {name: {token: index for index, token in enumerate(tokens)} for name, tokens in LANGUAGES.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabularies))
    tokenizer = {
        **{"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        **{"word_delimiter_token": "|", "target_lang": "eng", "tokenizer_class": "Wav2Vec2CTCTokenizer"},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def by_transformers(folder: Path, language: str, audio: np.ndarray) -> tuple[np.ndarray, str]:
    """Logits and words of one recording, by transformers' own classes with that language."""
    model = Wav2Vec2ForCTC.from_pretrained(folder, target_lang=language, ignore_mismatched_sizes=True).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder, target_lang=language)
    with torch.inference_mode():
        logits = model(extractor(audio, sampling_rate=16_000, return_tensors="pt").input_values).logits[0].numpy()
    written = logits.copy()
    written[:, 1:4] = -np.inf  # tokens that are never written, but by this tokenizer
    return logits, tokenizer.decode(written.argmax(axis=-1)).strip()
