"""A made-up front end: the mean magnitude of a few bands of every 20 ms, and whole words as tokens."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOP, BANDS = 320, 16  # samples of a frame, numbers of a frame
MOST_TOKENS = 9  # of a sentence, its end included
END = 0  # the token that ends a sentence, and that begins it


@dataclass(frozen=True)
class FrontEnd:
    """See `stablequant.corpora.front_end.FrontEnd`."""

    sample_rate: int
    words: list[str]
    shortest_samples: int = HOP
    longest_samples: float = math.inf
    labels: tuple[str, ...] = ("wrd", "ltr")
    language: str | None = None
    splits_letters: bool = False

    def spell(self, transcript: str) -> str:
        return " ".join(transcript.lower().split())

    def unknown(self, transcripts: Iterable[str]) -> Counter[str]:
        return Counter(word for text in transcripts for word in text.split() if word not in self.words)

    def text(self, tokens: Iterable[int]) -> str:
        return " ".join(self.words[token] for token in tokens if token != END)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """float32 ``(frames, BANDS)``."""
        frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
        magnitudes = np.abs(np.fft.rfft(frames, axis=1))[:, : HOP // 2]
        return np.log1p(magnitudes.reshape(len(frames), BANDS, -1).mean(axis=2)).astype(np.float32)


def read_front_end(folder: Path) -> FrontEnd:
    rate = json.loads((folder / "config.json").read_text())["rate"]
    return FrontEnd(rate, json.loads((folder / "words.json").read_text()))
