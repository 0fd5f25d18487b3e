"""The computation of each layer, and the size of its input."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from stablequant.recognisers.recogniser import Recogniser
from stablequant.recognisers.sizes import FLOAT_BYTES


@dataclass(frozen=True)
class Cost:
    """Cost of one layer per sample of audio.

    Attributes
    ----------
    macs: multiply-accumulates of its Linear and Conv1d modules, without attention scores
    bytes: size of its input in float32; infinite if no pass can start at this layer
    """

    macs: float
    bytes: float


def layer_costs(recogniser: Recogniser) -> dict[str, Cost]:
    """Cost of each layer by name, in the order of the layers, measured on one second of silence."""
    counted = recogniser.samples.copy()
    second = recogniser.front_end.sample_rate
    context, state = recogniser.context([second]), recogniser.silence(second)
    macs = dict.fromkeys(recogniser.layers, 0)
    sizes = dict.fromkeys(recogniser.layers, math.inf)
    owners = {m.module: m.layer for m in recogniser.modules}
    for number, layer in enumerate(recogniser.layers[: recogniser.resumable + 1]):
        sizes[layer] = sum(tensor.numel() for tensor in state.values()) * FLOAT_BYTES
        with _counting(recogniser.model) as products:
            if number < recogniser.resumable:
                state = recogniser.run(state, number, number + 1, context)
                owners_here: Mapping[str, str] = {}
            else:  # all layers from here on run together
                recogniser.recognise(state, number, context)
                owners_here = owners
        for module, product in products:
            macs[owners_here.get(module, layer)] += product
    recogniser.samples = counted
    padded = context.samples  # more than a second if the recogniser pads to a window
    return {layer: Cost(macs[layer] / padded, sizes[layer] / padded) for layer in recogniser.layers}


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[tuple[str, int]]]:
    """Name and multiply-accumulates of every Linear and Conv1d that is called inside the block."""
    products: list[tuple[str, int]] = []

    def count(name: str, module: nn.Linear | nn.Conv1d, output: torch.Tensor) -> None:
        products.append((name, module.weight.numel() * output.numel() // module.weight.shape[0]))

    handles = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: count(name, module, output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
    ]
    try:
        yield products
    finally:
        for handle in handles:
            handle.remove()


def passes(samples: Mapping[str, int], costs: Mapping[str, Cost], total: int) -> float:
    """Number of complete passes over ``total`` samples of audio that need the same computation as ``samples``.

    ``samples`` is the number of samples that passed through each layer, by layer name.
    """
    one = total * sum(cost.macs for cost in costs.values())
    return sum(count * costs[layer].macs for layer, count in samples.items()) / one


def recomputed(costs: Sequence[Cost], kept: Sequence[int]) -> float:
    """Multiply-accumulates per sample that are needed to reach every layer once, if the layers ``kept`` are cached.

    A pass starts at the nearest cached layer. It stops at the layer, or, if no pass can start at the layer, at the last
    layer before it where one can.
    """
    total = 0.0
    for number in range(len(costs)):
        stop = max((k for k in range(number + 1) if math.isfinite(costs[k].bytes)), default=0)
        start = max((k for k in kept if k <= stop), default=0)
        total += sum(cost.macs for cost in costs[start:stop])
    return total
