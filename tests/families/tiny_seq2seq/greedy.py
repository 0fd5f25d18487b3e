"""Greedy decoding with engines of two graphs."""

from collections.abc import Mapping, Sequence

import numpy as np
from stablequant.recognisers.tiny_seq2seq.front_end import END, HOP, MOST_TOKENS, FrontEnd

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.decoder import NotFiniteError, Word
from stablequant.recognisers.family import Limits, Network, Signature, Tensor
from stablequant.recognisers.sizes import Footprint

MEMORY = Footprint(per_sample=4.0, per_pair=0.0, hop=HOP)
SIGNATURES = {
    "encoder": Signature(
        {"features": Tensor(("batch", "frames", "bands"))},
        {"encoded": Tensor(("batch", "frames", "width")), "level": Tensor(("batch", "one"))},
        {"batch": 1, "frames": 50, "bands": 16},
    ),
    "decoder": Signature(
        {
            "tokens": Tensor(("batch", "tokens"), "int64"),
            "encoded": Tensor(("batch", "frames", "width")),
            "level": Tensor(("batch", "one")),
        },
        {"logits": Tensor(("batch", "tokens", "classes"))},
        {"batch": 1, "tokens": 3, "frames": 50, "width": 32, "one": 1},
    ),
}


def limits_of(samples: Sequence[int], longest: int) -> dict[str, Limits]:
    most = max(longest, *samples) // HOP
    fixed = {"bands": 16, "width": 32, "one": 1}
    return {
        "frames": Limits(1, sorted(samples)[len(samples) // 2] // HOP, most),
        "tokens": Limits(1, 4, MOST_TOKENS),
        **{axis: Limits(size, size, size) for axis, size in fixed.items()},
    }


class GreedyDecoder:
    """See `stablequant.recognisers.decoder.Decoder`."""

    def __init__(self, front_end: FrontEnd, networks: Mapping[str, Network]) -> None:
        self._front_end, self._encoder, self._decoder = front_end, networks["encoder"], networks["decoder"]

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float) -> list[Batch]:
        return make_batches(utterances, MEMORY, budget, most=most)

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        encoded = self._encoder({"features": np.stack([self._front_end.features(samples) for samples in audio])})
        return [self._sentence(encoded["encoded"][[row]], encoded["level"][[row]], row) for row in range(len(audio))]

    def _sentence(self, encoded: np.ndarray, level: np.ndarray, row: int) -> str:
        tokens = [END]
        while len(tokens) < MOST_TOKENS and (len(tokens) == 1 or tokens[-1] != END):
            given = {"tokens": np.array([tokens], dtype=np.int64), "encoded": encoded, "level": level}
            logits = self._decoder(given)["logits"]
            if not np.isfinite(logits).all():
                raise NotFiniteError(row)
            tokens.append(int(logits[0, -1].argmax()))
        return self._front_end.text(tokens)

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Every chunk's words, spread over the chunk."""
        rate = self._front_end.sample_rate
        words = []
        for start in range(0, len(samples), int(chunk_seconds * rate)):
            chunk = samples[start : start + int(chunk_seconds * rate)]
            heard = self.recognise([np.pad(chunk, (0, max(0, HOP - len(chunk))))])[0].split()
            times = np.linspace(start, start + len(chunk), len(heard) + 1) / rate
            words += [Word(word, float(times[i]), float(times[i + 1])) for i, word in enumerate(heard)]
        return words
