"""Lengths of the utterances in a batch at every layer."""

from collections.abc import Sequence

from stablequant.recognisers.ctc.frames import BatchFrames
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank
from stablequant.recognisers.wav2vec2_bert.layers import ModelConfig
from stablequant.recognisers.wav2vec2_bert.sizes import frames_by_stage

BEFORE_STRIDE = ("proj", "residual_conv", "attention_conv")  # activations of an adapter layer before it strides


class Frames(BatchFrames):
    """Lengths and masks of a batch, see `stablequant.recognisers.recogniser.Context`.

    ``heard`` are numbers of frames at the encoder's rate, ``counts`` those after the adapter.

    Attributes
    ----------
    stacks: number of frames in a row at the encoder's rate, including padding
    """

    def __init__(self, config: ModelConfig, front_end: FilterBank, samples: Sequence[int]) -> None:
        by_utterance = [frames_by_stage(config, front_end.stacks(length)) for length in samples]
        self._stages = [list(stage) for stage in zip(*by_utterance, strict=True)]
        self.stacks = max(self._stages[0])
        super().__init__(samples, self._stages[-1], [front_end.heard(length) for length in samples])

    def lengths(self, module: QuantizedModule) -> list[int]:
        """Number of vectors in each row of the input of ``module``, without padding."""
        tensor = module.activation.rpartition(".")[2]
        if module.kind == "adapter":
            return self._stages[int(module.layer.removeprefix("adapter")) - (tensor in BEFORE_STRIDE)]
        if module.kind == "head":
            return self.counts
        if tensor == "pos":  # one row for all utterances: the distances between frames
            return [2 * max(self._stages[0]) - 1]
        return self._stages[0]
