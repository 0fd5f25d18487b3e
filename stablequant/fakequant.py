"""INT8 in floating point: what an engine computes, simulated in the torch model."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from stablequant.layers import QuantizedModule

QMIN, QMAX = -128, 127


def scale_of(amax: np.ndarray | float) -> np.ndarray:
    """Step of one quantization level, float32: amax / 127, and 1 where nothing but zero was seen."""
    scale = np.asarray(amax, dtype=np.float32) / np.float32(QMAX)
    return np.where(scale > 0, scale, np.float32(1))


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 weight of the same shape and its float32 scales ``(outputs,)``; axis 0 holds the output channels."""
    scales = scale_of(np.abs(weight).reshape(len(weight), -1).max(axis=1))
    levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return levels.clip(-QMAX, QMAX).astype(np.int8), scales


def fake_quantize_weight(weight: torch.Tensor) -> torch.Tensor:
    """``weight`` ``(outputs, ...)`` as INT8 would represent it."""
    levels, scales = quantize_weight(weight.cpu().numpy())
    return torch.from_numpy(levels * scales.reshape(-1, *[1] * (levels.ndim - 1))).to(weight.device)


@contextmanager
def fake_quantized(
    model: torch.nn.Module, modules: Iterable[QuantizedModule], amaxes: Mapping[str, float]
) -> Iterator[None]:
    """Inside the block the inputs and weights of ``modules`` are rounded to INT8; ``amaxes`` by activation name."""
    undo = []
    try:
        for module in modules:
            operation = model.get_submodule(module.module)
            scale = float(scale_of(amaxes[module.activation]))

            def hook(_module: torch.nn.Module, inputs: tuple, scale: float = scale) -> tuple:
                return (torch.fake_quantize_per_tensor_affine(inputs[0], scale, 0, QMIN, QMAX), *inputs[1:])

            undo.append(operation.register_forward_pre_hook(hook).remove)
            exact = operation.weight.data
            undo.append(lambda operation=operation, exact=exact: setattr(operation.weight, "data", exact))
            operation.weight.data = fake_quantize_weight(exact)
        yield
    finally:
        for restore in undo:
            restore()
