"""Lengths of the utterances in a batch at every layer."""

from collections.abc import Sequence

from stablequant.recognisers.ctc.frames import BatchFrames
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.wav2vec2.layers import ModelConfig


class Frames(BatchFrames):
    """Lengths and masks of a batch, see `stablequant.recognisers.recogniser.Context`.

    ``counts`` are numbers of frames at the encoder's rate.
    """

    def __init__(self, config: ModelConfig, samples: Sequence[int]) -> None:
        self._lengths = [list(samples)]
        for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
            self._lengths.append([(length - kernel) // stride + 1 for length in self._lengths[-1]])
        super().__init__(samples, self._lengths[-1], self._lengths[-1])

    def lengths(self, module: QuantizedModule) -> list[int]:
        """Number of vectors in each row of the input of ``module``, without padding."""
        if module.kind == "cnn":
            return self._lengths[int(module.layer.removeprefix("cnn")) - 1]
        if module.activation.endswith(".pos"):  # one row for all utterances: the distances between frames
            return [2 * max(self.counts) - 1]
        return self.counts
