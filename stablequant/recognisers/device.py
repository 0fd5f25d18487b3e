"""Where torch computes, and how exactly."""

import torch

from stablequant.errors import StableQuantError


def resolve_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is a GPU, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise StableQuantError("config key 'device'", "CUDA is asked for but torch sees no GPU", "set 'auto' or 'cpu'")
    return torch.device(device)


def compute_exactly(threads: int) -> None:
    """Let this process compute with so many ``threads``, and float32 as float32.

    Without this a GPU rounds what convolutions read to ten bits (TensorFloat-32).
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
