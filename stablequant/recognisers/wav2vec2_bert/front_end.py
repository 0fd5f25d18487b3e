"""The front end of Wav2Vec2-BERT: log-mel features, each mel bin normalised over the utterance, stacked frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import FrontEnd, read_sample_rate
from stablequant.recognisers.ctc.vocabulary import read_vocabulary
from stablequant.recognisers.ctc.write_vocabulary import write_vocabulary
from stablequant.recognisers.entries import read_entry
from stablequant.recognisers.wav2vec2_bert.filter_bank import HOP, frames_of, log_mel
from stablequant.storage.files import write_json

FEATURES, MASK = "input_features", "attention_mask"
EVEN = 2  # the feature extractor pads to a multiple of so many frames, then it stacks them


@dataclass(frozen=True)
class FilterBank(FrontEnd):
    """Turns audio into log-mel features, as transformers' SeamlessM4TFeatureExtractor does.

    The extractor pads an odd number of frames by one. The mask leaves out a stack that is padded, so that the others
    do not attend to it; the network gives an output for it all the same.

    Attributes
    ----------
    mel_bins: number of mel filters
    stride: number of frames in a stack; a stack is one vector of the network's input
    padding_value: value of the frame that is added
    masked: whether the mask leaves out a stack that is padded
    """

    mel_bins: int = 80
    stride: int = 2
    padding_value: float = 0.0
    masked: bool = True

    @property
    def width(self) -> int:
        """Length of a vector of the network's input."""
        return self.mel_bins * self.stride

    @property
    def hop(self) -> int:
        """Samples from one stack to the next."""
        return HOP * self.stride

    def stacks(self, samples: int) -> int:
        """Number of stacks of an utterance with a length of ``samples``."""
        frames = frames_of(samples)
        return (frames + frames % EVEN) // self.stride

    def heard(self, samples: int) -> int:
        """How many of the `stacks` the mask leaves in: those whose second frame is audio."""
        stacks = self.stacks(samples)
        return min(stacks, (frames_of(samples) + self.stride - 2) // self.stride) if self.masked else stacks

    def prepare(self, samples: np.ndarray) -> np.ndarray:
        """The features of ``samples``, float32 ``(samples,)``: float32 ``(stacks, width)``."""
        features = log_mel(samples, self.sample_rate, self.mel_bins)
        features = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0, ddof=1) + self.epsilon)
        added = ((0, len(features) % EVEN), (0, 0))
        padded = np.pad(features, added, constant_values=self.padding_value)
        stacks = len(padded) // self.stride
        return padded[: stacks * self.stride].reshape(stacks, self.width).astype(np.float32, copy=False)

    def inputs(self, audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Features ``(recordings, stacks, width)`` and the mask, int64 ``(recordings, stacks)``."""
        features = np.stack([self.prepare(samples) for samples in audio])
        mask = np.arange(features.shape[1]) < np.array([[self.heard(len(samples))] for samples in audio])
        return {FEATURES: features, MASK: mask.astype(np.int64)}


def read_filter_bank(folder: Path, shortest_samples: int) -> FilterBank:
    """Read the front end from the folder of an imported checkpoint or an engine.

    ``shortest_samples`` is the length of the shortest audio that gives a frame. Raises `StableQuantError` if a file is
    missing or damaged.
    """
    file = folder / "preprocessor_config.json"
    return checked(
        FilterBank(
            read_sample_rate(folder),
            True,
            read_vocabulary(folder, read_entry(folder / "config.json", "pad_token_id", int)),
            shortest_samples=shortest_samples,
            mel_bins=read_entry(file, "num_mel_bins", int),
            stride=read_entry(file, "stride", int),
            padding_value=read_entry(file, "padding_value", float),
            masked=read_entry(file, "return_attention_mask", bool),
        ),
        folder,
    )


def checked(front_end: FilterBank, folder: Path) -> FilterBank:
    """``front_end``; raise `StableQuantError` if its settings are not possible. ``folder`` is for messages."""
    file = folder / "preprocessor_config.json"
    if not 0 < front_end.mel_bins <= 1000:
        raise StableQuantError(file, f"'num_mel_bins' is {front_end.mel_bins}", "restore the file")
    if not 1 < front_end.stride <= 100:  # with 1, the extractor's mask would leave out every frame
        raise StableQuantError(file, f"a 'stride' of {front_end.stride} is not supported", "take one of 2")
    return front_end


def write_filter_bank(folder: Path, front_end: FilterBank) -> None:
    """Write all files of the front end except ``config.json``, which the model writes."""
    write_vocabulary(folder, front_end.vocabulary)
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "SeamlessM4TFeatureExtractor",
            "processor_class": "Wav2Vec2BertProcessor",
            "feature_size": front_end.mel_bins,
            "num_mel_bins": front_end.mel_bins,
            "stride": front_end.stride,
            "sampling_rate": front_end.sample_rate,
            "padding_side": "right",
            "padding_value": front_end.padding_value,
            "return_attention_mask": front_end.masked,
        },
    )
