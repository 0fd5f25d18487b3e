"""A Wav2Vec2-BERT recogniser as a chain of layers. A pass can start and stop at any layer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.recognisers.batches import make_batches
from stablequant.recognisers.ctc.recogniser import CtcRecogniser
from stablequant.recognisers.wav2vec2_bert.frames import Frames
from stablequant.recognisers.wav2vec2_bert.front_end import FilterBank
from stablequant.recognisers.wav2vec2_bert.layers import config_of, layer_names_of, quantized_modules
from stablequant.recognisers.wav2vec2_bert.sizes import footprint, tolerates_padding

Layer = Callable[[torch.Tensor, Frames], torch.Tensor]


class Wav2Vec2BertRecogniser(CtcRecogniser[FilterBank, Frames]):
    """The layers of a CTC model. All layers together compute ``model(features, mask).logits``.

    Attributes and methods are those of `stablequant.recognisers.recogniser.Recogniser`. A state is one tensor. It is
    the features ``(utterances, stacks, width)`` at first, and ``(utterances, frames, width)`` after each layer.
    """

    def __init__(self, model: PreTrainedModel, front_end: FilterBank, precision: str = "float32") -> None:
        self._config = config_of(model)
        self._base: Any = model.base_model  # its parts have no types
        super().__init__(model, front_end, quantized_modules(self._config), precision)

    def _layers(self) -> Mapping[str, Layer]:
        runs: list[Layer] = [self._projection]
        runs += [partial(self._transformer, layer) for layer in self._base.encoder.layers]
        if self._base.intermediate_ffn is not None:
            runs.append(self._intermediate)
        if self._base.adapter is not None:
            runs += [partial(self._adapter, index) for index in range(len(self._base.adapter.layers))]
        runs.append(self._head)
        return dict(zip(layer_names_of(self._config), runs, strict=True))

    def reduced(self, precision: str) -> "Wav2Vec2BertRecogniser":
        """The same model, computing in ``precision``: float32, bfloat16 or float16."""
        return Wav2Vec2BertRecogniser(self.model, self.front_end, precision)

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order, padded if padding changes no results."""
        memory = footprint(self._config, self.front_end.hop)
        return make_batches(utterances, memory, budget, tolerates_padding(self._config), seed)

    def context(self, samples: Sequence[int]) -> Frames:
        """Lengths and masks of a batch whose utterances have lengths of ``samples``."""
        return Frames(self._config, self.front_end, samples)

    def _projection(self, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        projected: torch.Tensor = self._base.feature_projection(hidden)[0]
        mask = context.mask(projected)
        return projected if mask is None else projected.masked_fill(~mask[..., None], 0)

    def _transformer(self, layer: torch.nn.Module, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        encoder = self._base.encoder
        positions = None
        if encoder.embed_positions is not None:
            positions = context.shared("positions", lambda: encoder.embed_positions(hidden))
        found: torch.Tensor = layer(
            hidden,
            attention_mask=context.shared("attention", lambda: self._attention_mask(hidden, context)),
            relative_position_embeddings=positions,
            conv_attention_mask=context.shared("mask", lambda: context.mask(hidden)),
        )
        return found

    def _intermediate(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        found: torch.Tensor = hidden + 0.5 * self._base.intermediate_ffn(hidden)
        return found

    def _adapter(self, index: int, hidden: torch.Tensor, context: Frames) -> torch.Tensor:
        adapter = self._base.adapter
        if index == 0 and adapter.proj is not None:
            hidden = adapter.proj_layer_norm(adapter.proj(hidden))
        masked = min(context.heard) < context.stacks
        lengths = torch.tensor(context.heard, device=hidden.device) if masked else None
        for _ in range(index + 1):
            lengths = adapter._compute_sub_sample_lengths_from_attention_mask(lengths)
        found: torch.Tensor = adapter.layers[index](hidden, attention_mask=lengths, sub_sampled_lengths=lengths)
        return found

    def _head(self, hidden: torch.Tensor, _context: Frames) -> torch.Tensor:
        head: Any = self.model.lm_head
        found: torch.Tensor = head(hidden)
        return found
