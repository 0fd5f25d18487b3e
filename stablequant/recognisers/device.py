"""The device on which torch computes, and its precision."""

import torch

from stablequant.errors import StableQuantError


def resolve_device(device: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; ``auto`` means the GPU if there is one, otherwise the CPU.

    Raises `StableQuantError` if ``cuda`` is requested and torch finds no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise StableQuantError("config key 'device'", "CUDA is requested but torch finds no GPU", "set 'auto' or 'cpu'")
    return torch.device(device)


def compute_exactly(threads: int) -> None:
    """Set the number of CPU ``threads`` for this process, and switch TensorFloat-32 off.

    With TensorFloat-32, a GPU rounds the inputs of convolutions to ten bits.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
