"""What stands before and behind the network: sample rate, normalisation, vocabulary."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.vocabulary import Vocabulary, read_vocabulary, write_vocabulary
from stablequant.storage.files import read_json, write_json

Entry = TypeVar("Entry", int, bool)
HIGHEST_RATE = 768_000  # Hz, of any recording
FILES = ("config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json")


@dataclass(frozen=True)
class FrontEnd:
    """What turns audio into the network's input, and its output into words.

    Attributes
    ----------
    sample_rate: in Hz
    do_normalize: whether each utterance is brought to zero mean and unit variance
    vocabulary: of the CTC head
    epsilon: added to that variance; 1e-7 in Hugging Face's preprocessing, 1e-5 in fairseq's
    shortest_samples: the least audio that gives a frame
    """

    sample_rate: int
    do_normalize: bool
    vocabulary: Vocabulary
    epsilon: float = 1e-7
    shortest_samples: int = 400

    def spell(self, transcript: str) -> str:
        """The transcript as the recogniser would write it, see `Vocabulary.spell`."""
        return self.vocabulary.spell(transcript)

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        """How often spelled ``transcripts`` hold what the recogniser can never write."""
        return self.vocabulary.unknown(transcripts)

    def prepare(self, samples: np.ndarray) -> np.ndarray:
        """Samples, float32 ``(samples,)``, as the network takes them."""
        return normalise(samples, self.epsilon) if self.do_normalize else samples


def normalise(samples: np.ndarray, epsilon: float) -> np.ndarray:
    """Zero mean and unit variance over the utterance; ``epsilon`` is added to the variance."""
    centred = samples - samples.mean()
    return centred / np.sqrt(centred.var() + epsilon)


def read_front_end(folder: Path) -> FrontEnd:
    """Read it from a checkpoint's or an engine's folder."""
    preprocessor = folder / "preprocessor_config.json"
    vocabulary = read_vocabulary(folder, _entry(folder / "config.json", "pad_token_id", int))
    rate, normalize = read_sample_rate(folder), _entry(preprocessor, "do_normalize", bool)
    epsilon = read_json(preprocessor).get("variance_epsilon", FrontEnd.epsilon)
    if not isinstance(epsilon, int | float) or not 0 <= epsilon < 1:
        raise StableQuantError(preprocessor, f"a 'variance_epsilon' of {epsilon!r}", "correct it")
    return FrontEnd(rate, normalize, vocabulary, epsilon)


def read_sample_rate(folder: Path) -> int:
    """Sample rate in Hz of a checkpoint's or an engine's folder."""
    preprocessor = folder / "preprocessor_config.json"
    rate = _entry(preprocessor, "sampling_rate", int)
    if not 0 < rate <= HIGHEST_RATE:
        raise StableQuantError(preprocessor, f"a 'sampling_rate' of {rate} Hz", "correct it")
    return rate


def write_front_end(folder: Path, front_end: FrontEnd) -> None:
    """Write all but ``config.json``, which the model writes itself."""
    write_vocabulary(folder, front_end.vocabulary)
    write_json(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": front_end.sample_rate,
            "do_normalize": front_end.do_normalize,
            "variance_epsilon": front_end.epsilon,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
        },
    )


def _entry(file: Path, key: str, kind: type[Entry]) -> Entry:
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise StableQuantError(file, f"no {kind.__name__} '{key}'", "complete the checkpoint's folder")
    return content[key]
