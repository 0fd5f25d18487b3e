"""The recogniser in torch: loaded for inference, every quantized module with a plain weight."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrize
from transformers import AutoModelForCTC
from transformers.utils.logging import disable_progress_bar

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.decoding import Infer
from stablequant.recognisers.wav2vec2 import conformer, wavlm
from stablequant.storage.files import read_json


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is a GPU, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise StableQuantError("config key 'device'", "CUDA is asked for but torch sees no GPU", "set 'auto' or 'cpu'")
    return torch.device(device)


def load_recogniser(folder: Path, device: str = "cpu", threads: int = 1, attention: str = "sdpa") -> torch.nn.Module:
    """The CTC model of an imported checkpoint, float32, in evaluation mode, its weight and batch norms folded.

    All of the process computes float32 as such from then on: a GPU else rounds what convolutions read to ten bits
    (TensorFloat-32).
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    disable_progress_bar()
    kind = read_json(folder / "config.json")["model_type"]
    if kind == "wavlm":
        attention = "eager"  # the only one that transformers has; replaced below
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
    model.eval().requires_grad_(False)
    if kind == "wavlm":
        wavlm.attend_by_modules(model)
    if kind == "wav2vec2-conformer":
        conformer.prepare(model)
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
            module.weight.requires_grad_(False)
    return model.to(resolve_device(device))


def torch_infer(model: torch.nn.Module) -> Infer:
    """``model`` as a function of a batch of audio, float32 ``(batch, samples)``."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def infer(audio: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(audio).to(device)).logits.float().cpu().numpy()

    return infer
