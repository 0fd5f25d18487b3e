"""Measure the inputs of the quantized modules."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from stablequant.corpora.utterance import Batch
from stablequant.quantization.collecting import unpadded
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import Operation, channel_axis, operation_of
from stablequant.recognisers.recogniser import Context, Recogniser
from stablequant.search.split import loaded


class Measure(Protocol):
    """Measures activations, one utterance at a time."""

    def add(self, activation: str, values: torch.Tensor) -> None:
        """Add ``values`` ``(channels, frames)`` of one utterance."""


def measure_inputs(recogniser: Recogniser, batches: Sequence[Batch], measure: Measure, label: str) -> None:
    """Recognise ``batches`` in fp32 and pass each activation to ``measure`` once. ``label`` names the progress.

    Raises `StableQuantError` if a recording cannot be read.
    """
    for _, context, state in loaded(recogniser, batches, label):
        with _handing(recogniser, context, measure):
            recogniser.recognise(state, 0, context)


@contextmanager
def _handing(recogniser: Recogniser, context: Context, measure: Measure) -> Iterator[None]:
    """Pass the activations of a forward pass inside the block to ``measure``, without padding.

    ``context`` is that of the batch.
    """
    handles = []
    for module in {m.activation: m for m in recogniser.modules}.values():

        def hook(operation: Operation, inputs: tuple[torch.Tensor, ...], module: QuantizedModule = module) -> None:
            for part in unpadded(inputs[0], module, operation, context):
                for row in part if part.ndim == 3 else [part]:
                    measure.add(module.activation, row if channel_axis(operation) == 0 else row.T)

        handles.append(operation_of(recogniser.model, module).register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
