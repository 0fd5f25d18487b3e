"""INT8 in floating point: what an engine computes, simulated in the torch model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from stablequant.layers import QuantizedModule
from stablequant.operations import operation_of
from stablequant.quantization import QMAX, QMIN, quantize_weight, scale_of


def fake_quantize_weight(weight: torch.Tensor) -> torch.Tensor:
    """``weight`` ``(outputs, ...)`` as INT8 would represent it."""
    levels, scales = quantize_weight(weight.cpu().numpy())
    return torch.from_numpy(levels * scales.reshape(-1, *[1] * (levels.ndim - 1))).to(weight.device)


def fake_quantized_weights(model: torch.nn.Module, modules: Iterable[QuantizedModule]) -> dict[str, torch.Tensor]:
    """Weights by the module's name as INT8 would represent them."""
    return {m.module: fake_quantize_weight(operation_of(model, m).weight.data) for m in modules}


def fake_quantize_activation(values: torch.Tensor, scale: float) -> torch.Tensor:
    """``values`` of any shape as INT8 would represent them, rounded half to even and clamped to -128 .. 127 steps.

    One kernel on a GPU. On a CPU torch's own operation also writes a gradient mask and is several times slower than
    these four, which give the same numbers.
    """
    if values.is_cuda:
        return torch.fake_quantize_per_tensor_affine(values, scale, 0, QMIN, QMAX)
    return values.mul(1 / scale).round_().clamp_(QMIN, QMAX).mul_(scale)


@contextmanager
def fake_quantized(
    model: torch.nn.Module,
    modules: Sequence[QuantizedModule],
    ranges: Mapping[str, float],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> Iterator[None]:
    """Inside the block the inputs and weights of ``modules`` are rounded to INT8.

    ``ranges`` are by activation name; ``weights``, as `fake_quantized_weights` makes them, spare computing them anew.
    """
    weights = weights or fake_quantized_weights(model, modules)
    undo: list[Callable[[], None]] = []
    try:
        for module in modules:
            operation = operation_of(model, module)
            scale = float(scale_of(ranges[module.activation]))

            def hook(_module: torch.nn.Module, inputs: tuple, scale: float = scale) -> tuple:
                return (fake_quantize_activation(inputs[0].float(), scale), *inputs[1:])  # autocast may have reduced it

            undo.append(operation.register_forward_pre_hook(hook).remove)
            undo.append(partial(setattr, operation.weight, "data", operation.weight.data))
            operation.weight.data = weights[module.module]
        yield
    finally:
        for restore in undo:
            restore()
