"""Load an imported CTC checkpoint as a torch model for inference."""

from pathlib import Path

from transformers import AutoModelForCTC, PreTrainedModel

from stablequant.recognisers.device import compute_exactly, resolve_device
from stablequant.recognisers.pretrained import from_pretrained


def load_imported(folder: Path, device: str, threads: int, attention: str) -> PreTrainedModel:
    """The CTC model in ``folder`` in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads, and ``attention`` the implementation of
    attention in transformers.
    """
    compute_exactly(threads)
    model = from_pretrained(AutoModelForCTC, folder, attn_implementation=attention)
    model.eval().requires_grad_(False)
    loaded: PreTrainedModel = model.to(resolve_device(device))
    return loaded
