"""A recogniser of the wav2vec 2.0 family as a chain of layers. A pass can start and stop at any layer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.ctc.recogniser import CtcRecogniser
from stablequant.recognisers.wav2vec2.frames import Frames
from stablequant.recognisers.wav2vec2.layers import config_of, layer_names_of, quantized_modules
from stablequant.recognisers.wav2vec2.memory import footprint, tolerates_padding

Layer = Callable[[torch.Tensor, Frames], torch.Tensor]


class Wav2Vec2Recogniser(CtcRecogniser[FrontEnd, Frames]):
    """The layers of a CTC model. All layers together compute ``model(audio).logits``.

    Attributes and methods are those of `stablequant.recognisers.recogniser.Recogniser`. A state is one tensor. It is
    the audio ``(utterances, samples)`` at first, ``(utterances, channels, frames)`` up to the layer ``projection``,
    ``(utterances, frames, width)`` after it, and ``(utterances, frames, classes)`` after the head.
    """

    def __init__(self, model: PreTrainedModel, front_end: FrontEnd, precision: str = "float32") -> None:
        self._config = config_of(model)
        base: Any = model.base_model  # its parts have no types
        self._encoder = base.encoder
        pre_norm = getattr(model.config, "do_stable_layer_norm", False)
        self._norm_after = pre_norm or model.config.model_type == "wav2vec2-conformer"
        super().__init__(model, front_end, quantized_modules(self._config), precision)

    def _layers(self) -> Mapping[str, Layer]:
        names = layer_names_of(self._config)
        base: Any = self.model.base_model
        runs: list[Layer] = [partial(_convolution, layer) for layer in base.feature_extractor.conv_layers]
        runs.append(self._projection)
        if "positional" in names:
            runs.append(self._positional)
        runs += [partial(self._transformer, layer) for layer in self._encoder.layers]
        runs.append(self._head)
        return dict(zip(names, runs, strict=True))

    def reduced(self, precision: str) -> "Wav2Vec2Recogniser":
        """The same model, computing in ``precision``: float32, bfloat16 or float16."""
        return Wav2Vec2Recogniser(self.model, self.front_end, precision)

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order, padded if padding changes no results."""
        return make_batches(utterances, footprint(self._config), budget, tolerates_padding(self._config), seed)

    def context(self, samples: Sequence[int]) -> Frames:
        """Lengths and masks of a batch whose utterances have lengths of ``samples``."""
        return Frames(self._config, samples)

    def _projection(self, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        base: Any = self.model.base_model
        projected = base.feature_projection(hidden.transpose(1, 2))
        if isinstance(projected, tuple):  # wav2vec 2.0 also returns the normalised features
            projected = projected[0]
        found: torch.Tensor = projected
        mask = context.mask(found)
        return found if mask is None else found.masked_fill(~mask[..., None], 0)

    def _positional(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        found: torch.Tensor = hidden + self._encoder.pos_conv_embed(hidden)
        if not self._norm_after:
            found = self._encoder.layer_norm(found)
        return found

    def _transformer(self, layer: torch.nn.Module, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        kind = self.model.config.model_type
        found: torch.Tensor
        if kind == "wavlm":
            mask = context.shared("mask", lambda: context.mask(hidden))
            bias = context.shared("bias", lambda: self._position_bias(hidden))
            found = layer(hidden, attention_mask=mask, position_bias=bias)[0]
            return found
        mask = context.shared("mask", lambda: self._attention_mask(hidden, context))
        if kind == "wav2vec2-conformer":
            positions = context.shared("positions", lambda: self._positions(hidden))
            found = layer(hidden, attention_mask=mask, relative_position_embeddings=positions)
            return found
        found = layer(hidden, attention_mask=mask)
        return found

    def _head(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        head: Any = self.model.lm_head
        found: torch.Tensor = head(self._encoder.layer_norm(hidden) if self._norm_after else hidden)
        return found

    def _position_bias(self, hidden: torch.Tensor) -> torch.Tensor:
        """The position bias of WavLM's first layer, ``(utterances * heads, frames, frames)``. All layers share it."""
        frames = hidden.shape[1]
        bias: torch.Tensor = self._encoder.layers[0].attention.compute_bias(frames, frames)
        return bias.repeat(len(hidden), 1, 1)

    def _positions(self, hidden: torch.Tensor) -> torch.Tensor | None:
        return self._encoder.embed_positions(hidden) if self._encoder.embed_positions is not None else None


def _convolution(layer: torch.nn.Module, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
    found: torch.Tensor = layer(hidden[:, None] if hidden.ndim == 2 else hidden)
    return found
