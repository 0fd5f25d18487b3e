"""The front end of a CTC network: sample rate, normalisation and vocabulary."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stablequant.corpora.front_end import LABELS
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.vocabulary import Vocabulary, read_vocabulary
from stablequant.recognisers.ctc.write_vocabulary import write_vocabulary
from stablequant.recognisers.entries import read_entry
from stablequant.storage.files import read_json, write_json

INPUT = "input_values"  # the input of a network that reads audio
HIGHEST_RATE = 768_000  # Hz; no recording has a higher rate


@dataclass(frozen=True)
class FrontEnd:
    """Turns audio into the input of the network, and its output into words.

    Attributes
    ----------
    sample_rate: in Hz
    do_normalize: whether each utterance is normalised to zero mean and unit variance
    vocabulary: vocabulary of the CTC head
    epsilon: added to the variance; 1e-7 in Hugging Face's preprocessing, 1e-5 in fairseq's
    shortest_samples: length in samples of the shortest audio that gives a frame
    trained_on: which of `LABELS` a checkpoint of fairseq was trained on; None if that is not known
    """

    sample_rate: int
    do_normalize: bool
    vocabulary: Vocabulary
    epsilon: float = 1e-7
    shortest_samples: int = 400
    trained_on: str | None = None

    @property
    def labels(self) -> Sequence[str]:
        """See `stablequant.corpora.front_end.FrontEnd`. Words and letters say the same, phonemes something else."""
        if self.trained_on == "phn":
            return ("phn",)
        if self.trained_on is not None:
            return ("ltr", "wrd") if self.trained_on == "ltr" else ("wrd", "ltr")
        return ("phn", "wrd", "ltr") if self.vocabulary.phonemic else LABELS

    @property
    def longest_samples(self) -> float:
        """Infinity: the network takes audio of any length."""
        return math.inf

    @property
    def language(self) -> str | None:
        """None: the files of CTC recognisers do not name it."""
        return None

    @property
    def splits_letters(self) -> bool:
        """Whether the vocabulary has letters only and nothing between words, as one of Chinese."""
        return self.vocabulary.splits_letters

    def spell(self, transcript: str) -> str:
        """``transcript`` as the recogniser would write it, see `Vocabulary.spell`."""
        return self.vocabulary.spell(transcript)

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """Count the characters or tokens that the recogniser can never write, see `Vocabulary.unknown`."""
        return self.vocabulary.unknown(transcripts)

    def prepare(self, samples: np.ndarray) -> np.ndarray:
        """``samples``, float32 ``(samples,)``, as the network takes them: same shape, normalised if necessary."""
        return normalise(samples, self.epsilon) if self.do_normalize else samples

    def inputs(self, audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The network's inputs, by name, for recordings of one length, each float32 ``(samples,)``."""
        return {INPUT: np.stack([self.prepare(samples) for samples in audio]).astype(np.float32, copy=False)}


def normalise(samples: np.ndarray, epsilon: float) -> np.ndarray:
    """``samples`` ``(samples,)`` with zero mean and unit variance; ``epsilon`` is added to the variance."""
    centred = samples - samples.mean()
    normalised: np.ndarray = centred / np.sqrt(centred.var() + epsilon)
    return normalised


def read_front_end(folder: Path) -> FrontEnd:
    """Read the front end from the folder of a checkpoint or an engine.

    Raises `StableQuantError` if a file is missing or damaged.
    """
    preprocessor = folder / "preprocessor_config.json"
    vocabulary = read_vocabulary(folder, read_entry(folder / "config.json", "pad_token_id", int))
    rate, normalize = read_sample_rate(folder), read_entry(preprocessor, "do_normalize", bool)
    epsilon = read_json(preprocessor).get("variance_epsilon", FrontEnd.epsilon)
    if not isinstance(epsilon, int | float) or not 0 <= epsilon < 1:
        raise StableQuantError(preprocessor, f"a 'variance_epsilon' of {epsilon!r}", "correct it")
    trained_on = read_json(preprocessor).get("labels")
    if trained_on not in (None, *LABELS):
        raise StableQuantError(preprocessor, f"'labels' of {trained_on!r}", f"take one of {', '.join(LABELS)}")
    return FrontEnd(rate, normalize, vocabulary, epsilon, trained_on=trained_on)


def read_sample_rate(folder: Path) -> int:
    """Sample rate in Hz from the folder of a checkpoint or an engine.

    Raises `StableQuantError` if its file is missing or damaged.
    """
    preprocessor = folder / "preprocessor_config.json"
    rate = read_entry(preprocessor, "sampling_rate", int)
    if not 0 < rate <= HIGHEST_RATE:
        raise StableQuantError(preprocessor, f"a 'sampling_rate' of {rate} Hz", "correct it")
    return rate


def write_front_end(folder: Path, front_end: FrontEnd) -> None:
    """Write all files of the front end except ``config.json``, which the model writes."""
    write_vocabulary(folder, front_end.vocabulary)
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": front_end.sample_rate,
            "do_normalize": front_end.do_normalize,
            "variance_epsilon": front_end.epsilon,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
            **({} if front_end.trained_on is None else {"labels": front_end.trained_on}),
        },
    )
