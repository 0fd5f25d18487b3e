"""Whisper as the search runs it: the encoder layer by layer, the decoder as a whole along fp32's tokens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Guide, Recognised, State
from stablequant.recognisers.whisper.front_end import FrontEnd
from stablequant.recognisers.whisper.layers import ModelConfig, layer_names, quantized_modules
from stablequant.recognisers.whisper.memory import make_batches
from stablequant.recognisers.whisper.network import encoded_pairs
from stablequant.recognisers.whisper.torch_greedy import Text, follow, write

HIDDEN = "hidden"  # the one tensor of a state


class Windows:
    """See `stablequant.recognisers.recogniser.Context`. Utterances are padded to windows with silence.

    It is audio like the rest, so no row counts as padded.
    """

    padded = False

    def __init__(self, config: ModelConfig, rows: int, window: int) -> None:
        self.samples = rows * window
        self._config, self._rows = config, rows

    def lengths(self, module: QuantizedModule) -> list[int]:
        """Vectors in each row of the input of ``module``. Of the decoder: the largest number in a whole batch."""
        frames = self._config["max_source_positions"]
        if module.kind in ("decoder", "head"):
            return [self._rows * max(frames, self._config["max_target_positions"])]
        return [frames * (2 if module.kind == "conv" else 1)] * self._rows


class WhisperRecogniser:
    """Attributes and methods are those of `stablequant.recognisers.recogniser.Recogniser`.

    A state is one tensor: log-mel features ``(utterances, bins, frames)`` before ``conv1``, ``(utterances, width,
    frames)`` before ``conv2`` and ``(utterances, frames, width)`` behind it. The decoder's layers are not resumable.
    """

    def __init__(
        self,
        model: WhisperForConditionalGeneration,
        front_end: FrontEnd,
        config: ModelConfig,
        precision: str = "float32",
    ) -> None:
        self.model, self.front_end = model, front_end
        self._config = config
        self.modules = quantized_modules(config)
        self.layers = layer_names(config["encoder_layers"], config["decoder_layers"])
        self.resumable = self.layers.index("decoder01")
        self.samples: Counter[str] = Counter()
        self._precision: torch.dtype = getattr(torch, precision)
        self._device = next(model.parameters()).device

    def reduced(self, precision: str) -> "WhisperRecogniser":
        """The same model, computing in ``precision``: float32, bfloat16 or float16."""
        return WhisperRecogniser(self.model, self.front_end, self._config, precision)

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order."""
        return make_batches(utterances, self._config, budget, seed)

    def context(self, samples: Sequence[int]) -> Windows:
        """The context of a batch whose utterances have lengths of ``samples``."""
        return Windows(self._config, len(samples), self.front_end.window)

    def load(self, batch: Batch) -> State:
        """Log-mel features of ``batch``, float32 ``(utterances, bins, frames)``."""
        audio = (load_audio(utterance, self.front_end.sample_rate) for utterance in batch)
        return self.enter({HIDDEN: np.stack([self.front_end.features(samples) for samples in audio])})

    def silence(self, samples: int) -> State:
        """Log-mel features of a window of silence."""
        return self.enter({HIDDEN: self.front_end.features(np.zeros(samples, dtype=np.float32))[None]})

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        """Features or stored hidden values as float32 tensors on the recogniser's device."""
        return {name: torch.as_tensor(values).to(self._device, torch.float32) for name, values in arrays.items()}

    @torch.inference_mode()
    def run(self, state: State, first: int, last: int, context: Windows) -> State:
        """Run the encoder's layers from ``first`` up to but without ``last``."""
        hidden = state[HIDDEN]
        with self._computing():
            for name in self.layers[first:last]:
                hidden = self._layer(name, hidden).float()  # so that a pass may resume from stored float32
                self.samples[name] += context.samples
        return {HIDDEN: hidden}

    @torch.inference_mode()
    def recognise(
        self, state: State, first: int, context: Windows, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        """Greedy decoding of each utterance, and log posteriors ``(tokens, classes)``.

        With ``guides``, all tokens of a guide pass the decoder at once. Only if another token than the guide's next one
        is most likely somewhere, the text is decoded anew from there on.
        """
        encoded = self.run(state, first, self.resumable, context)[HIDDEN]
        encoder: Any = self.model.model.encoder
        with self._computing():
            crossed = encoded_pairs(self.model, encoder.layer_norm(encoded))
            if guides is None or None in guides:
                found = write(self.model, self.front_end, crossed)
            else:
                found = follow(self.model, self.front_end, crossed, [list(guide or ()) for guide in guides])
        self._count(context, found)
        return [
            Recognised(
                self.front_end.spell(self.front_end.text(text.tokens)),
                torch.log_softmax(text.logits, dim=-1).cpu().numpy(),
                text.guide,
            )
            for text in found
        ]

    def _computing(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32)

    def _layer(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        encoder: Any = self.model.model.encoder
        found: torch.Tensor
        if name == "conv1":
            found = functional.gelu(encoder.conv1(hidden))
        elif name == "conv2":
            found = functional.gelu(encoder.conv2(hidden)).transpose(1, 2) + encoder.embed_positions.weight
        else:
            found = encoder.layers[int(name.removeprefix("encoder")) - 1](hidden, None)
        return found

    def _count(self, context: Windows, found: Sequence[Text]) -> None:
        """Count the audio that passed through the decoder: once, and what was decoded anew by its share of products."""
        width, inner = self._config["d_model"], self._config["decoder_ffn_dim"]
        of_a_token = 6 * width**2 + 2 * width * inner  # multiply-accumulates of one layer
        of_a_window = 2 * width**2 * self._config["max_source_positions"]
        for layer in self.layers[self.resumable :]:
            window = 0 if layer == "head" else of_a_window / of_a_token
            tokens = [len(self.front_end.prompt) + len(text.guide) - 1 for text in found]
            anew = [text.rewritten / (window + count) for text, count in zip(found, tokens, strict=True)]
            self.samples[layer] += context.samples + round(context.samples * sum(anew) / len(anew))
