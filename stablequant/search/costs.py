"""What each layer computes, and how large what enters it is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from stablequant.recognisers.family import Recogniser
from stablequant.recognisers.sizes import FLOAT_BYTES


@dataclass(frozen=True)
class Cost:
    """Of one layer, per sample of audio.

    Attributes
    ----------
    macs: multiply-accumulates of its Linear and Conv1d modules; attention scores are not counted
    bytes: of what enters it, in float32; infinite where no pass can start
    """

    macs: float
    bytes: float


def layer_costs(recogniser: Recogniser) -> dict[str, Cost]:
    """Cost of each layer in the order in which audio passes them, measured on a second of silence."""
    counted = recogniser.samples.copy()
    second = recogniser.writing.sample_rate
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
    return {layer: Cost(macs[layer] / second, sizes[layer] / second) for layer in recogniser.layers}


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[tuple[str, int]]]:
    """Name and multiply-accumulates of every module that is called inside the block."""
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
    """Passes over ``total`` samples of audio that compute as much as ``samples`` through each layer did."""
    one = total * sum(cost.macs for cost in costs.values())
    return sum(count * costs[layer].macs for layer, count in samples.items()) / one


def recomputed(costs: Sequence[Cost], kept: Sequence[int]) -> float:
    """Multiply-accumulates per sample of coming to every layer once, each from the nearest of ``kept`` before it.

    A layer where no pass can start is reached where the pass before it stops.
    """
    total = 0.0
    for number in range(len(costs)):
        stop = max((k for k in range(number + 1) if math.isfinite(costs[k].bytes)), default=0)
        start = max((k for k in kept if k <= stop), default=0)
        total += sum(cost.macs for cost in costs[start:stop])
    return total
