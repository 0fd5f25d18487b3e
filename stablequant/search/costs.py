"""What each layer computes, and how large what enters it is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from stablequant.recognisers.batches import FLOAT_BYTES
from stablequant.recognisers.wav2vec2.forward import Stages

SAMPLES = 16_000  # of the silence that is passed through the layers to measure them


@dataclass(frozen=True)
class Cost:
    """Of one layer, per sample of audio.

    Attributes
    ----------
    macs: multiply-accumulates of its Linear and Conv1d modules; attention scores are not counted
    bytes: of what enters it, in float32
    """

    macs: float
    bytes: float


def layer_costs(stages: Stages) -> dict[str, Cost]:
    """Cost of each layer in the order in which audio passes them."""
    counted = stages.samples.copy()
    frames = stages.frames([SAMPLES])
    hidden = stages.enter(torch.zeros(1, SAMPLES))
    costs = {}
    for number, layer in enumerate(stages.names):
        entering = hidden.numel() * FLOAT_BYTES
        with _counting(stages.model) as products:
            hidden = stages.run(hidden, number, number + 1, frames)
        costs[layer] = Cost(sum(products) / SAMPLES, entering / SAMPLES)
    stages.samples = counted
    return costs


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[int]]:
    """Multiply-accumulates of every module that is called inside the block."""
    products: list[int] = []

    def count(module: nn.Linear | nn.Conv1d, _inputs: tuple, output: torch.Tensor) -> None:
        outputs = module.weight.shape[0]
        products.append(module.weight.numel() * output.numel() // outputs)

    operations = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d)]
    handles = [operation.register_forward_hook(count) for operation in operations]
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
    """Multiply-accumulates per sample of coming to every layer once, each from the nearest of ``kept`` before it."""
    total = 0.0
    for number in range(len(costs)):
        start = max((k for k in kept if k <= number), default=0)
        total += sum(cost.macs for cost in costs[start:number])
    return total
