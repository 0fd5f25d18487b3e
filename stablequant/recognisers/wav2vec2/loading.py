"""Load an imported checkpoint as a torch model for inference, with plain weights in every quantized module."""

from pathlib import Path
from typing import Any

from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from stablequant.recognisers.ctc.loading import load_imported
from stablequant.recognisers.wav2vec2 import conformer, wavlm
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.forward import Wav2Vec2Recogniser
from stablequant.storage.files import read_json


def load(folder: Path, device: str = "cpu", threads: int = 1) -> Wav2Vec2Recogniser:
    """Load an imported checkpoint as a recogniser, see `load_model`."""
    return Wav2Vec2Recogniser(load_model(folder, device, threads), read_front_end(folder))


def load_model(folder: Path, device: str = "cpu", threads: int = 1, attention: str = "sdpa") -> PreTrainedModel:
    """The CTC model of an imported checkpoint in float32 and evaluation mode, with weight and batch norms folded.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads, and ``attention`` the implementation of
    attention in transformers.
    """
    kind = read_json(folder / "config.json")["model_type"]
    if kind == "wavlm":
        attention = "eager"  # transformers has no other implementation for WavLM; it is replaced below
    model = load_imported(folder, device, threads, attention)
    if kind == "wavlm":
        wavlm.attend_by_modules(model)
    if kind == "wav2vec2-conformer":
        conformer.prepare(model)
    modules: Any = model.modules()
    for module in modules:
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
            module.weight.requires_grad_(False)
    return model
