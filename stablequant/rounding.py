"""Weights rounded to INT8 one column after the other, each making up for what rounding those before it has changed.

Rounding each weight to the nearest level is the least error in weights, not in outputs. Here it is the squared error
of the outputs over calibration audio that is kept low, as in GPTQ (Frantar et al., ICLR 2023): neighbouring samples of
sound are much alike, and so are the features made of them, so that errors of weights that read them can cancel out.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from stablequant.files import read_tensors, replacing
from stablequant.quantization import QMAX

RoundedWeight = tuple[np.ndarray, np.ndarray]  # int8 (outputs, ...) and float32 (outputs,), as `quantize_weight` gives
DAMPING = 0.01  # of each column's own moment, added to it: what calibration audio says is not taken for exact


def compensated(values: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Levels, whole numbers from -127 to 127, for weights ``values`` ``(..., outputs, columns)`` in units of a level.

    ``moments`` ``(..., columns, columns)`` are the second moments of what the columns are multiplied with, in any unit.
    Both are float64; dimensions before are problems of their own. The largest moments come first, while there are many
    columns left to make up for them.
    """
    own = moments.diagonal(dim1=-2, dim2=-1)
    order = own.argsort(dim=-1, descending=True)
    damped = moments + torch.diag_embed(torch.where(own > 0, DAMPING * own, 1.0))  # a dead column is as good as any
    damped = damped.take_along_dim(order[..., None], -2).take_along_dim(order[..., None, :], -1)
    shares = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    left = values.take_along_dim(order[..., None, :], -1)
    for column in range(values.shape[-1]):
        rounded = left[..., column].round().clamp(-QMAX, QMAX)
        error = (left[..., column] - rounded) / shares[..., column, column, None]
        left[..., column + 1 :] -= error[..., None] * shares[..., None, column, column + 1 :]
        left[..., column] = rounded
    return left.take_along_dim(order.argsort(dim=-1)[..., None, :], -1)


def save_rounded(path: Path, weights: Mapping[str, RoundedWeight]) -> None:
    """Write INT8 weights by the module's name; none at all where each is to be rounded to the nearest level."""
    tensors: dict[str, np.ndarray] = {}
    for name, (levels, scales) in weights.items():
        tensors |= {f"{name}/levels": levels, f"{name}/scales": scales}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def load_rounded(path: Path) -> dict[str, RoundedWeight]:
    tensors = read_tensors(path)
    names = [name.removesuffix("/levels") for name in tensors if name.endswith("/levels")]
    return {name: (tensors[f"{name}/levels"], tensors[f"{name}/scales"]) for name in names}
