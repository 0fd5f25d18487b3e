"""Whisper as engines: the graphs, and greedy decoding with them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.decoder import NotFiniteError, Word
from stablequant.recognisers.family import Limits, Network, Signature, Tensor
from stablequant.recognisers.whisper.front_end import FrontEnd
from stablequant.recognisers.whisper.layers import ModelConfig
from stablequant.recognisers.whisper.long_form import Choose, Decode, Fallback, transcribe_windows, words_of
from stablequant.recognisers.whisper.memory import make_batches

ENCODER, DECODER, WITH_PAST = "encoder", "decoder", "decoder_with_past"
PROMPT = 4  # tokens of a multilingual prompt


def signatures(config: ModelConfig) -> dict[str, Signature]:
    """Signature of each graph by name. Names of tensors are those of optimum."""
    width, heads = config["d_model"], config["decoder_attention_heads"]
    fixed = {"positions": config["max_source_positions"], "heads": heads, "head_size": width // heads}
    own, other = Tensor(("batch", "heads", "past", "head_size")), Tensor(("batch", "heads", "positions", "head_size"))
    new = Tensor(("batch", "heads", "known", "head_size"))
    layers = range(config["decoder_layers"])
    parts = ("key", "value")
    logits = {"logits": Tensor(("batch", "tokens", "classes"))}
    encoded = Tensor(("batch", "positions", "width"))
    names = [f"{i}.{side}.{part}" for i in layers for side in ("decoder", "encoder") for part in parts]
    return {
        ENCODER: Signature(
            {"input_features": Tensor(("batch", "bins", "frames"))},
            {"last_hidden_state": encoded},
            {"batch": 1, "bins": config["num_mel_bins"], "frames": 2 * config["max_source_positions"]},
        ),
        DECODER: Signature(
            {"input_ids": Tensor(("batch", "tokens"), "int64"), "encoder_hidden_states": encoded},
            logits | {f"present.{name}": new if ".decoder." in name else other for name in names},
            {"batch": 1, "tokens": PROMPT, "positions": config["max_source_positions"], "width": width},
        ),
        WITH_PAST: Signature(
            {"input_ids": Tensor(("batch", "step"), "int64")}
            | {f"past_key_values.{name}": own if ".decoder." in name else other for name in names},
            logits | {f"present.{name}": new for name in names if ".decoder." in name},
            {"batch": 1, "step": 1, "past": PROMPT, **fixed},
            {f"past_key_values.{name}": f"present.{name}" for name in names},
        ),
    }


def limits_of(config: ModelConfig) -> dict[str, Limits]:
    """Sizes of all axes except ``batch``. All audio fills a window."""
    most = config["max_target_positions"] - 1
    sizes = {axis: size for signature in signatures(config).values() for axis, size in signature.warm_up.items()}
    fixed = {axis: Limits(size, size, size) for axis, size in sizes.items() if axis != "batch"}
    return fixed | {"tokens": Limits(1, PROMPT, most), "past": Limits(1, min(32, most), most)}


class GreedyDecoder:
    """See `stablequant.recognisers.decoder.Decoder`. Recordings are decoded together, each until its text ends."""

    def __init__(
        self,
        front_end: FrontEnd,
        config: ModelConfig,
        networks: Mapping[str, Network],
        fallback: Fallback | None = None,
    ) -> None:
        self._front_end, self._config, self._networks = front_end, config, networks
        self._fallback = fallback or Fallback()

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float = math.inf) -> list[Batch]:
        """Batches within the budget, of any lengths."""
        return make_batches(utterances, self._config, budget, None, most)

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Normalised hypotheses for recordings of at most a window, each float32 ``(samples,)``."""
        front_end = self._front_end
        encoded = self._encode(np.stack([front_end.features(samples) for samples in audio]))
        texts, _ = self._decode(
            encoded,
            front_end.prompt,
            lambda tokens, scores: int(front_end.allowed(scores, first=not tokens).argmax()),
        )
        return [front_end.spell(front_end.text(tokens)) for tokens in texts]

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words as Whisper writes them, with punctuation, in a recording of any length.

        Windows are decoded one after the other, see `stablequant.recognisers.whisper.long_form`; with
        ``chunk_seconds`` below their length, each holds only as much audio. The times of segments are Whisper's own.
        Inside a segment they are an estimate: each word has a share by its number of characters.
        """
        front_end = self._front_end
        seconds = front_end.hop / front_end.sample_rate  # of a frame
        window = min(front_end.window // front_end.hop, int(chunk_seconds / seconds))
        length = len(samples) / front_end.sample_rate
        words: list[Word] = []
        for start, segment in transcribe_windows(front_end, samples, window, self._encoded, self._fallback):
            # A time may lie in the silence behind a shorter window, in which the next one begins.
            ends = [min(length, (start + min(frame, window)) * seconds) for frame in (segment.start, segment.end)]
            words += words_of(front_end, segment, *ends)
        return words

    def _encoded(self, features: np.ndarray) -> Decode:
        """Run the encoder on one window ``(bins, frames)``; return how texts are decoded from its output."""
        encoded = self._encode(features[None])

        def decode(prompt: Sequence[int], choose: Choose) -> tuple[list[int], np.ndarray]:
            texts, scores = self._decode(encoded, prompt, choose)
            return texts[0], scores[0]

        return decode

    def _encode(self, features: np.ndarray) -> np.ndarray:
        encoded = self._networks[ENCODER]({"input_features": features})["last_hidden_state"]
        for row, values in enumerate(encoded):
            if not np.isfinite(values).all():
                raise NotFiniteError(row)
        return encoded

    def _decode(self, encoded: np.ndarray, prompt: Sequence[int], choose: Choose) -> tuple[list[list[int]], np.ndarray]:
        """Tokens of each recording without the prompt, and the scores behind each token of the prompt.

        Parameters
        ----------
        encoded: the encoder's output, float32 ``(recordings, positions, width)``
        prompt: tokens with which all texts begin
        choose: chooses each token
        """
        front_end = self._front_end
        most = self._config["max_target_positions"] - len(prompt)
        given = np.tile(np.array(prompt, dtype=np.int64), (len(encoded), 1))
        found = dict(self._networks[DECODER]({"input_ids": given, "encoder_hidden_states": encoded}))
        crossed = {name: values for name, values in found.items() if ".encoder." in name}
        beginning = found["logits"]
        texts: list[list[int]] = [[] for _ in encoded]
        running = list(range(len(encoded)))
        while True:
            logits = found["logits"][:, -1]
            for row, scores in zip(running, logits, strict=True):
                if not np.isfinite(scores).all():
                    raise NotFiniteError(row)
                texts[row].append(choose(texts[row], scores))
            going = [i for i, row in enumerate(running) if texts[row][-1] != front_end.end and len(texts[row]) < most]
            if not going:
                return texts, beginning
            own = {name: values for name, values in found.items() if ".decoder." in name}
            if len(going) < len(running):
                own = {name: values[going] for name, values in own.items()}
                crossed = {name: values[going] for name, values in crossed.items()}
                running = [running[i] for i in going]
            last = np.array([[texts[row][-1]] for row in running], dtype=np.int64)
            past = {name.replace("present", "past_key_values", 1): v for name, v in (own | crossed).items()}
            found = dict(self._networks[WITH_PAST]({"input_ids": last, **past}))
