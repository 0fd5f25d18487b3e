"""Simulate INT8 in floating point: the torch model computes what an engine computes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from stablequant.quantization.equalised import reciprocal, weight_of
from stablequant.quantization.int8 import QMAX, QMIN, Range, dequantized, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import Operation, channel_axis, operation_of

ChannelScales = Mapping[str, np.ndarray]  # by activation name, see `stablequant.quantization.channel_scales`


def fake_quantized_weights(
    model: torch.nn.Module,
    modules: Iterable[QuantizedModule],
    channel_scales: ChannelScales,
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> dict[str, torch.Tensor]:
    """Fake-quantized weights by module name, for inputs that are divided by their ``channel_scales``.

    Weights in ``rounded``, by module name, are used as they are. All others are rounded to the nearest level.
    """
    weights = {}
    for module in modules:
        operation = operation_of(model, module)
        found = (rounded or {}).get(module.module)
        if found is None:
            found = quantize_weight(weight_of(operation, channel_scales.get(module.activation)))
        weights[module.module] = torch.from_numpy(dequantized(*found)).to(operation.weight.device)
    return weights


def fake_quantize_input(
    values: torch.Tensor, chosen: Range, channel_axis: int = -1, overwrite: bool = False
) -> torch.Tensor:
    """Fake-quantize ``values`` (any shape) to the range ``chosen``, with its centre or as two INT8 numbers.

    Carried channels, which ``channel_axis`` counts, get the range that ``chosen`` has for them. With ``overwrite`` the
    memory of ``values`` is used for the result, which saves a copy of a large activation.
    """
    if chosen.carried:
        places = torch.tensor(chosen.carried.channels, device=values.device)
        massive = fake_quantize_input(values.index_select(channel_axis, places), chosen.carried.range, overwrite=True)
        rest = fake_quantize_input(values, replace(chosen, carried=None), overwrite=overwrite)
        return rest.index_copy_(channel_axis, places, massive)
    if chosen.centre != 0:
        moved = values.sub_(chosen.centre) if overwrite else values - chosen.centre
        return fake_quantize_activation(moved, chosen.scale, overwrite=True).add_(chosen.centre)
    if not chosen.split:
        return fake_quantize_activation(values, chosen.scale, overwrite)
    rounded = fake_quantize_activation(values, chosen.scale)
    rest = values.sub_(rounded) if overwrite else values - rounded
    return rounded.add_(fake_quantize_activation(rest, chosen.rest_scale, overwrite=True))


def fake_quantize_activation(values: torch.Tensor, scale: float, overwrite: bool = False) -> torch.Tensor:
    """Fake-quantize ``values`` (any shape): rounded half to even and clamped to -128 .. 127 steps of ``scale``.

    With ``overwrite`` the memory of ``values`` is used for the result.

    On a GPU this is one kernel. On a CPU, torch's operation also writes a mask for gradients. The four operations used
    here are several times faster and give the same numbers.
    """
    if values.is_cuda:
        return torch.fake_quantize_per_tensor_affine(values, scale, 0, QMIN, QMAX)
    steps = values.mul_(1 / scale) if overwrite else values.mul(1 / scale)
    return steps.round_().clamp_(QMIN, QMAX).mul_(scale)


def _compute_exactly(operation: Operation) -> Callable[[], None]:
    """Let ``operation`` compute in float32 under autocast too; return what undoes that.

    Reduced precision would round INT8's levels once more. The output has the type that it has without this.
    """
    forward = operation.forward

    def compute(values: torch.Tensor) -> torch.Tensor:
        device = values.device.type
        if not torch.is_autocast_enabled(device):
            return forward(values)
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return forward(values).to(dtype)

    vars(operation)["forward"] = compute
    return partial(vars(operation).pop, "forward")


def _tables(model: torch.nn.Module, operation: Operation) -> list[torch.nn.Embedding]:
    """The embeddings whose table is the weight of ``operation``."""
    embeddings = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    return [embedding for embedding in embeddings if embedding.weight is operation.weight]


def _multiply_output(table: torch.nn.Embedding, factor: torch.Tensor) -> Callable[[], None]:
    """Multiply what ``table`` gives by ``factor`` ``(channels,)``; return what undoes that."""
    return table.register_forward_hook(lambda _module, _inputs, output: output * factor).remove


@contextmanager
def fake_quantized_outputs(
    model: torch.nn.Module, modules: Sequence[QuantizedModule], ranges: Mapping[str, Range]
) -> Iterator[None]:
    """Inside the block, those outputs of ``modules`` are fake-quantized that have a range in ``ranges``, by name."""
    hooks = []
    for module in modules:
        if module.output_activation in ranges:

            def hook(
                _operation: torch.nn.Module,
                _inputs: tuple[torch.Tensor, ...],
                output: torch.Tensor,
                chosen: Range = ranges[module.output_activation],
            ) -> torch.Tensor:
                return fake_quantize_input(output.float(), chosen).to(output.dtype)

            hooks.append(operation_of(model, module).register_forward_hook(hook))
    try:
        yield
    finally:
        for added in hooks:
            added.remove()


@contextmanager
def fake_quantized(
    model: torch.nn.Module,
    modules: Sequence[QuantizedModule],
    ranges: Mapping[str, Range],
    channel_scales: ChannelScales,
    weights: Mapping[str, torch.Tensor],
) -> Iterator[None]:
    """Inside the block, the inputs of ``modules`` are fake-quantized and their weights are replaced by ``weights``.

    An embedding whose table is the weight of a module has the fake-quantized table then, as in the engine's graph.
    ``ranges`` and ``channel_scales`` are by activation name. An activation without scales is not equalised. ``weights``
    are by module name, from `fake_quantized_weights` with the same scales. ``modules`` compute in float32, whatever the
    precision of the others. Their outputs are fake-quantized too where ``ranges`` has a range for them.
    """
    undo: list[Callable[[], None]] = []
    outputs = fake_quantized_outputs(model, modules, ranges)
    try:
        for module in modules:
            operation = operation_of(model, module)
            factor = reciprocal(operation, channel_scales.get(module.activation))

            def hook(
                _module: torch.nn.Module,
                inputs: tuple[torch.Tensor, ...],
                chosen: Range = ranges[module.activation],
                factor: torch.Tensor | None = factor,
                axis: int = channel_axis(operation) - 2,  # from the end, since a Linear may read a batch or one row
            ) -> tuple[torch.Tensor, ...]:
                values = inputs[0].float()  # with autocast it may be in reduced precision
                if factor is None:  # the values may be needed elsewhere in the model
                    return (fake_quantize_input(values, chosen, axis), *inputs[1:])
                return (fake_quantize_input(values * factor, chosen, axis, overwrite=True), *inputs[1:])

            undo.append(operation.register_forward_pre_hook(hook).remove)
            undo.append(_compute_exactly(operation))
            if factor is not None:
                undo += [_multiply_output(table, factor) for table in _tables(model, operation)]
            undo.append(partial(setattr, operation.weight, "data", operation.weight.data))
            operation.weight.data = weights[module.module]
        with outputs:
            yield
    finally:
        for restore in undo:
            restore()
