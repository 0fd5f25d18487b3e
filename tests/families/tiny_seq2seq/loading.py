"""The recogniser as the search runs it: encoder layers one by one, the decoder as a whole along tokens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from stablequant.recognisers.tiny_seq2seq.front_end import END, HOP, MOST_TOKENS, FrontEnd, read_front_end
from stablequant.recognisers.tiny_seq2seq.greedy import MEMORY
from stablequant.recognisers.tiny_seq2seq.model import Model, modules_of, read_model

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.device import compute_exactly, resolve_device
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Guide, Recognised, State


class Lengths:
    """See `stablequant.recognisers.recogniser.Context`; batches hold one length."""

    padded = False

    def __init__(self, samples: Sequence[int]) -> None:
        self.samples = sum(samples)
        self._frames = [length // HOP for length in samples]

    def lengths(self, module: QuantizedModule) -> list[int]:
        if module.layer.startswith(("decoder", "head")):  # called anew with each token, and once along all
            calls = MOST_TOKENS + 1
            per_call = max(self._frames[0], MOST_TOKENS)
            return [calls * per_call] * len(self._frames)
        return self._frames


class TinyRecogniser:
    """See `stablequant.recognisers.recogniser.Recogniser`."""

    def __init__(self, model: Model, front_end: FrontEnd, precision: str = "float32") -> None:
        self.model, self.front_end, self.modules = model, front_end, modules_of()
        self.layers = list(dict.fromkeys(m.layer for m in self.modules))
        self.resumable = self.layers.index("decoder01")
        self.samples: Counter[str] = Counter()
        self._precision: torch.dtype = getattr(torch, precision)
        self._device = next(model.parameters()).device

    def reduced(self, precision: str) -> "TinyRecogniser":
        return TinyRecogniser(self.model, self.front_end, precision)

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        return make_batches(utterances, MEMORY, budget, seed=seed)

    def context(self, samples: Sequence[int]) -> Lengths:
        return Lengths(samples)

    def load(self, batch: Batch) -> State:
        rate = self.front_end.sample_rate
        return self._state(np.stack([self.front_end.features(load_audio(u, rate)) for u in batch]))

    def silence(self, samples: int) -> State:
        return self._state(self.front_end.features(np.zeros(samples, dtype=np.float32))[None])

    def _state(self, features: np.ndarray) -> State:
        return self.enter({"hidden": features, "level": features.mean(axis=(1, 2))[:, None]})

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        return {name: torch.as_tensor(values).to(self._device, torch.float32) for name, values in arrays.items()}

    @torch.inference_mode()
    def run(self, state: State, first: int, last: int, context: Lengths) -> State:
        values = state["hidden"]
        layers = [self.model.encoder.projection, *self.model.encoder.layers]
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            for number in range(first, last):
                values = layers[number](values)
                self.samples[self.layers[number]] += context.samples
        return {"hidden": values, "level": state["level"]}

    @torch.inference_mode()
    def recognise(
        self, state: State, first: int, context: Lengths, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        state = self.run(state, first, self.resumable, context)
        for layer in self.layers[self.resumable :]:
            self.samples[layer] += context.samples
        found = []
        for row, guide in enumerate(guides or [None] * len(state["hidden"])):
            encoded, level = state["hidden"][[row]].float(), state["level"][[row]]
            tokens = list(guide) if guide is not None else self._greedy(encoded, level)
            logits = self._logits([END, *tokens[:-1]], encoded, level)
            if guide is not None and logits.argmax(dim=-1).tolist() != tokens:
                text = self.front_end.text(self._greedy(encoded, level))
            else:
                text = self.front_end.text(tokens)
            found.append(Recognised(text, torch.log_softmax(logits, dim=-1).cpu().numpy(), tokens))
        return found

    def _greedy(self, encoded: torch.Tensor, level: torch.Tensor) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < MOST_TOKENS - 1 and (not tokens or tokens[-1] != END):
            tokens.append(int(self._logits([END, *tokens], encoded, level)[-1].argmax()))
        return tokens

    def _logits(self, tokens: Sequence[int], encoded: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        given = torch.tensor([tokens], device=self._device)
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            return self.model.decoder(given, encoded, level)[0].float()


def load(folder: Path, device: str = "cpu", threads: int = 1) -> TinyRecogniser:
    compute_exactly(threads)
    return TinyRecogniser(read_model(folder).to(resolve_device(device)), read_front_end(folder))
