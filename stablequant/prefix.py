"""Running what lies before a layer once for many candidates."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class ConvolutionPrefix:
    """The feature extractor's convolutions before a layer, remembered for one batch.

    Quantizing a layer leaves everything before it unchanged. Only one batch is held, so memory does not grow with the
    corpus; `forget` must be called before the next.
    """

    def __init__(self, extractor: Any, convolutions: int) -> None:
        self._before = list(extractor.conv_layers[:convolutions])
        self._after = list(extractor.conv_layers[convolutions:])
        self._output: torch.Tensor | None = None

    def forget(self) -> None:
        self._output = None

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Audio ``(batch, samples)`` to features ``(batch, channels, frames)``, as the extractor itself."""
        if self._output is None:
            self._output = _run(self._before, input_values[:, None])
        return _run(self._after, self._output)


def _run(layers: list[torch.nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        hidden = layer(hidden)
    return hidden


@contextmanager
def convolution_prefix(model: Any, layer: str) -> Iterator[ConvolutionPrefix]:
    """Inside the block ``model`` remembers its convolutions before ``layer``, all of them for a later layer."""
    extractor = model.base_model.feature_extractor
    number = re.fullmatch(r"cnn(\d+)", layer)
    convolutions = int(number[1]) - 1 if number else len(extractor.conv_layers)
    prefix = ConvolutionPrefix(extractor, convolutions)
    extractor.forward = prefix.forward
    try:
        yield prefix
    finally:
        del extractor.forward
