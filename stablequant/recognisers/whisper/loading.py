"""Load an imported checkpoint of Whisper as a torch model for inference."""

from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration

from stablequant.recognisers.device import compute_exactly, resolve_device
from stablequant.recognisers.pretrained import from_pretrained
from stablequant.recognisers.whisper.forward import WhisperRecogniser
from stablequant.recognisers.whisper.front_end import read_front_end
from stablequant.recognisers.whisper.layers import read_sizes


def load(folder: Path, device: str = "cpu", threads: int = 1) -> WhisperRecogniser:
    """Load an imported checkpoint as a recogniser, in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads.
    """
    compute_exactly(threads)
    model = load_model(folder, "sdpa")
    torch.nn.Module.to(model, resolve_device(device))
    return WhisperRecogniser(model, read_front_end(folder), read_sizes(folder))


def load_model(folder: Path, attention: str) -> WhisperForConditionalGeneration:
    """The model with ``attention``, the implementation of the encoder's attention in transformers.

    The head and the embedding of tokens have one weight, unless the checkpoint has two.
    """
    model: WhisperForConditionalGeneration = from_pretrained(
        WhisperForConditionalGeneration, folder, attn_implementation=attention
    )
    model.train(False).requires_grad_(False)
    return model
