"""Load an imported CTC checkpoint as a torch model for inference."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCTC, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from stablequant.recognisers.device import compute_exactly, resolve_device


def load_imported(folder: Path, device: str, threads: int, attention: str) -> PreTrainedModel:
    """The CTC model in ``folder`` in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads, and ``attention`` the implementation of
    attention in transformers.
    """
    compute_exactly(threads)
    silence: Callable[[], None] = disable_progress_bar
    silence()
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
    model.eval().requires_grad_(False)
    loaded: PreTrainedModel = model.to(resolve_device(device))
    return loaded
