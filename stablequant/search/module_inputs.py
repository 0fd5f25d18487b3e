"""What the quantized modules read, handed to whoever measures it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from stablequant.quantization.collecting import audio_of
from stablequant.recognisers.batches import Batch, loaded
from stablequant.recognisers.operations import Operation, channel_axis, operation_of
from stablequant.recognisers.wav2vec2.forward import Frames, Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.search.recognise_reference import Split


class Measure(Protocol):
    """Takes what was read of each activation, an utterance at a time."""

    def add(self, activation: str, values: torch.Tensor) -> None:
        """Take values ``(channels, frames)``."""


def measure_inputs(
    stages: Stages,
    modules: Sequence[QuantizedModule],
    split: Split,
    batches: Sequence[Batch],
    measure: Measure,
    label: str,
) -> None:
    """Recognise ``batches``, which are some of the split's, in fp32 and hand ``measure`` each activation once.

    ``label`` is what the progress is called.
    """
    for batch, audio in loaded(batches, split.front_end, label):
        frames = stages.frames([u.samples for u in batch])
        with _handing(stages, modules, frames, measure):
            stages.logits(stages.enter(audio), 0, frames)


@contextmanager
def _handing(stages: Stages, modules: Sequence[QuantizedModule], frames: Frames, measure: Measure) -> Iterator[None]:
    """A forward pass inside the block, of the batch that ``frames`` is of, goes to ``measure``."""
    handles = []
    for module in {m.activation: m for m in modules}.values():

        def hook(operation: Operation, inputs: tuple, module: QuantizedModule = module) -> None:
            for part in audio_of(inputs[0], module.layer, operation, frames):
                for row in part if part.ndim == 3 else [part]:
                    measure.add(module.activation, row if channel_axis(operation) == 0 else row.T)

        handles.append(operation_of(stages.model, module).register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
