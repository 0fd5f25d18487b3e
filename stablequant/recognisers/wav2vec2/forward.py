"""A recogniser of the wav2vec 2.0 kind as a chain of its layers, so that a pass may start and end at any of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers.masking_utils import create_bidirectional_mask

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.family import Guide, Recognised, State
from stablequant.recognisers.wav2vec2.frames import Frames
from stablequant.recognisers.wav2vec2.layers import layer_names_of, quantized_modules
from stablequant.recognisers.wav2vec2.memory import footprint, tolerates_padding

HIDDEN = "hidden"  # the one tensor of a state
Layer = Callable[[torch.Tensor, Frames], torch.Tensor]


class Wav2Vec2Recogniser:
    """A CTC model's layers in the order in which audio passes them; all of them together are ``model(audio).logits``.

    Attributes and methods as in `stablequant.recognisers.family.Recogniser`. A state is one tensor: audio
    ``(utterances, samples)``, up to ``projection`` ``(utterances, channels, frames)``, then ``(utterances, frames,
    width)``, and behind the head ``(utterances, frames, classes)``.
    """

    def __init__(self, model: Any, writing: FrontEnd, precision: str = "float32") -> None:
        self.model, self.writing = model, writing
        self._config = model.config.to_dict()
        self.modules = quantized_modules(self._config)
        self.layers = layer_names_of(self._config)
        self.resumable = len(self.layers) - 1
        self.samples: Counter[str] = Counter()
        self._precision: torch.dtype = getattr(torch, precision)
        self._device = next(model.parameters()).device
        self._encoder = model.base_model.encoder
        runs: list[Layer] = [partial(_convolution, layer) for layer in model.base_model.feature_extractor.conv_layers]
        runs.append(self._projection)
        if "positional" in self.layers:
            runs.append(self._positional)
        runs += [partial(self._transformer, layer) for layer in self._encoder.layers]
        runs.append(self._head)
        self._runs = dict(zip(self.layers, runs, strict=True))
        pre_norm = getattr(model.config, "do_stable_layer_norm", False)
        self._norm_after = pre_norm or model.config.model_type == "wav2vec2-conformer"

    def reduced(self, precision: str) -> "Wav2Vec2Recogniser":
        """The same model computing in ``precision``: float32, bfloat16 or float16."""
        return Wav2Vec2Recogniser(self.model, self.writing, precision)

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order, padded where that changes nothing."""
        return make_batches(utterances, footprint(self._config), budget, tolerates_padding(self._config), seed)

    def context(self, samples: Sequence[int]) -> Frames:
        """What the layers must know of a batch of utterances of so many ``samples``."""
        return Frames(self._config, samples)

    def load(self, batch: Batch) -> State:
        """The batch's audio, float32 ``(utterances, samples)``; zeros follow a shorter utterance."""
        audio = np.zeros((len(batch), max(u.samples for u in batch)), dtype=np.float32)
        for row, utterance in zip(audio, batch, strict=True):
            row[: utterance.samples] = self.writing.prepare(load_audio(utterance, self.writing.sample_rate))
        return self.enter({HIDDEN: audio})

    def silence(self, samples: int) -> State:
        """Zeros ``(1, samples)``."""
        return self.enter({HIDDEN: np.zeros((1, samples), dtype=np.float32)})

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        """Audio or stored hidden values, float32 on the recogniser's device."""
        return {name: torch.as_tensor(values).to(self._device, torch.float32) for name, values in arrays.items()}

    @torch.inference_mode()
    def run(self, state: State, first: int, last: int, context: Frames) -> State:
        """Pass ``state`` from before layer ``first`` to before layer ``last``."""
        hidden = state[HIDDEN]
        reduced = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision, enabled=reduced):
            for name in self.layers[first:last]:
                hidden = self._runs[name](hidden, context)
                self.samples[name] += context.samples
        return {HIDDEN: hidden}

    def logits(self, state: State, first: int, context: Frames) -> torch.Tensor:
        """The CTC logits, float32 ``(utterances, frames, classes)``, from the state before layer ``first``."""
        return self.run(state, first, len(self.layers), context)[HIDDEN].float()

    def recognise(
        self, state: State, first: int, context: Frames, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        """Each utterance's best path and its log posteriors by frame; CTC follows no guide."""
        rows = context.rows(torch.log_softmax(self.logits(state, first, context), dim=-1))
        return [Recognised(self.writing.vocabulary.decode(row.argmax(axis=-1)), row) for row in rows]

    def _projection(self, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        projected = self.model.base_model.feature_projection(hidden.transpose(1, 2))
        if isinstance(projected, tuple):  # wav2vec 2.0 returns the normalised features too
            projected = projected[0]
        mask = context.mask(projected)
        return projected if mask is None else projected.masked_fill(~mask[..., None], 0)

    def _positional(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        hidden = hidden + self._encoder.pos_conv_embed(hidden)
        return hidden if self._norm_after else self._encoder.layer_norm(hidden)

    def _transformer(self, layer: Any, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        kind = self.model.config.model_type
        if kind == "wavlm":
            mask = context.shared("mask", lambda: context.mask(hidden))
            bias = context.shared("bias", lambda: self._position_bias(hidden))
            return layer(hidden, attention_mask=mask, position_bias=bias)[0]
        mask = context.shared("mask", lambda: self._attention_mask(hidden, context))
        if kind == "wav2vec2-conformer":
            positions = context.shared("positions", lambda: self._positions(hidden))
            return layer(hidden, attention_mask=mask, relative_position_embeddings=positions)
        return layer(hidden, attention_mask=mask)

    def _head(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        return self.model.lm_head(self._encoder.layer_norm(hidden) if self._norm_after else hidden)

    def _attention_mask(self, hidden: torch.Tensor, context: Frames) -> Any:
        mask = context.mask(hidden)
        if mask is None:
            return None
        return create_bidirectional_mask(config=self.model.config, inputs_embeds=hidden, attention_mask=mask)

    def _position_bias(self, hidden: torch.Tensor) -> torch.Tensor:
        """WavLM's bias of the first layer, which all layers share, ``(utterances * heads, frames, frames)``."""
        frames = hidden.shape[1]
        return self._encoder.layers[0].attention.compute_bias(frames, frames).repeat(len(hidden), 1, 1)

    def _positions(self, hidden: torch.Tensor) -> torch.Tensor | None:
        return self._encoder.embed_positions(hidden) if self._encoder.embed_positions is not None else None


def _convolution(layer: torch.nn.Module, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
    return layer(hidden[:, None] if hidden.ndim == 2 else hidden)
