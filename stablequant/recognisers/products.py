"""How the layers of a torch model compute their products on a CPU: the same numbers but for rounding, in less time.

torch computes a Linear with the BLAS that it was built with. On x86 this is MKL, whose float32 products take on some
CPUs, such as AMD's, twice the time of those of oneDNN, which torch also has. A Conv1d of torch wants time to be the
last axis in memory; around it, layer norms and Linears want the channels there, so that values are copied to and fro.
"""

import logging
import math
import platform
import time
from collections.abc import Callable, Collection
from functools import cache

import torch
from torch import nn
from torch.nn import functional

from stablequant.recognisers.operations import CausalConv1d, Operation

ROWS, WIDTH = 256, 512  # of the products that are timed, about a millisecond each
ROUNDS = 25  # of which the fastest counts, since other programs may disturb some
TIMINGS = 4  # of so many rounds, of which the least gain counts, since another program may disturb a whole one
FEW_ROWS = 64
LEAST_GAIN = 1.2  # that oneDNN must bring; so it does not depend on chance which of two equal ways is taken


class OneDnnLinear(nn.Linear):
    """A Linear that oneDNN computes.

    oneDNN arranges the weight anew at each call, so that a replaced weight is used at once and nothing is kept. This
    takes about as long as the product of `FEW_ROWS` rows; fewer, such as a decoder's single tokens, are left to BLAS.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` ``(..., in)`` -> ``(..., out)``."""
        few = values.shape[:-1].numel() < FEW_ROWS
        if few or values.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(values)
        return _onednn_linear(values, self.weight, self.bias)


class ChannelsLastConv1d(nn.Conv1d):
    """A Conv1d that computes with the channels last in memory. Its input and output have the usual shapes."""

    def _conv_forward(self, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if values.ndim != 3 or isinstance(self.padding, str):
            found: torch.Tensor = super()._conv_forward(values, weight, bias)
            return found
        image = values[:, :, None].contiguous(memory_format=torch.channels_last)
        stride, padding, dilation = (1, *self.stride), (0, *self.padding), (1, *self.dilation)
        found = functional.conv2d(image, weight[:, :, None], bias, stride, padding, dilation, self.groups)
        return found[:, :, 0]


class ChannelsLastCausalConv1d(ChannelsLastConv1d, CausalConv1d):
    """The same of a `CausalConv1d`."""


def reduce_weights(model: nn.Module, precision: str, kept: Collection[str]) -> None:
    """Convert the weights of Linears and Conv1ds of ``model``, except the modules named in ``kept``, to ``precision``.

    It is for passes with autocast, which converts each weight at each call otherwise. What they compute stays the same.
    A weight that an embedding shares is not converted.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, module in model.named_modules():
        if isinstance(module, Operation) and name not in kept and id(module.weight) not in tables:
            module.weight.data = module.weight.data.to(getattr(torch, precision))


def speed_up(model: nn.Module) -> None:
    """Let the Linears and Conv1ds of ``model`` compute in the fastest way of this CPU. Elsewhere nothing changes.

    They stay the same objects, with the same parameters and hooks, and are still instances of Linear and Conv1d.
    """
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (on_cpu and onednn and platform.machine() in ("x86_64", "AMD64")):
        return
    faster: dict[type[nn.Module], type[nn.Module]] = {
        nn.Conv1d: ChannelsLastConv1d,
        CausalConv1d: ChannelsLastCausalConv1d,
    }
    if onednn_gain(torch.get_num_threads()) >= LEAST_GAIN:
        faster[nn.Linear] = OneDnnLinear
    for module in model.modules():
        module.__class__ = faster.get(type(module), type(module))


@cache
def onednn_gain(threads: int) -> float:
    """How many times as fast oneDNN computes a Linear as torch's BLAS, with the ``threads`` that torch now has.

    Jobs of one run should decide alike, for the two differ in rounding. So a gain must show in all of `TIMINGS`.
    """
    gain = math.inf
    for _ in range(TIMINGS):
        blas, onednn = _fastest(functional.linear, _onednn_linear)
        gain = min(gain, blas / onednn)
        if gain < LEAST_GAIN:
            break
    logging.info(
        "linear layers compute by %s: %d x %d x %d takes %.1f ms by torch's BLAS, %.1f ms by oneDNN, with %d threads",
        "oneDNN" if gain >= LEAST_GAIN else "torch's BLAS",
        *(ROWS, WIDTH, WIDTH, 1000 * blas, 1000 * onednn, threads),
    )
    return gain


@torch.inference_mode()
def _fastest(*ways: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> list[float]:
    """Seconds that each of ``ways`` takes to compute a Linear, in the fastest of `ROUNDS`."""
    weight, bias = torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
    values = torch.randn(ROWS, WIDTH)
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, spent in zip(ways, seconds, strict=True):  # in turn, so that a busy machine slows both
            start = time.perf_counter()
            way(values, weight, bias)
            spent.append(time.perf_counter() - start)
    return [min(spent[1:]) for spent in seconds]  # the first call also prepares


def _onednn_linear(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What torch.compile makes of a Linear on a CPU; torch has no other function for it."""
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
    return found
