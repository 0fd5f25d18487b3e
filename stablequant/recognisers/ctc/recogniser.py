"""A CTC recogniser as a chain of layers. A pass can start and stop at any layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.recognisers.ctc.frames import BatchFrames
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Guide, Recognised, State

HIDDEN = "hidden"  # the one tensor of a state
Extractor = TypeVar("Extractor", bound=FrontEnd)
Frames = TypeVar("Frames", bound=BatchFrames)


class CtcRecogniser(ABC, Generic[Extractor, Frames]):
    """The layers of a CTC model. All layers together compute its logits.

    Attributes and methods are those of `stablequant.recognisers.recogniser.Recogniser`. A state is one tensor: at first
    what the front end prepares, after the last layer the logits ``(utterances, frames, classes)``. A family adds the
    layers and `context` and `batches`.
    """

    def __init__(
        self, model: PreTrainedModel, front_end: Extractor, modules: Sequence[QuantizedModule], precision: str
    ) -> None:
        self.model, self.front_end, self.modules = model, front_end, modules
        self.samples: Counter[str] = Counter()
        self._precision: torch.dtype = getattr(torch, precision)
        self._device = next(model.parameters()).device
        self._runs = self._layers()
        self.layers = list(self._runs)
        self.resumable = len(self.layers) - 1

    @abstractmethod
    def _layers(self) -> Mapping[str, Callable[[torch.Tensor, Frames], torch.Tensor]]:
        """All layers by name, in the order in which the audio passes through them."""

    @abstractmethod
    def reduced(self, precision: str) -> Self:
        """The same model, computing in ``precision``: float32, bfloat16 or float16."""

    @abstractmethod
    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order, padded if padding changes no results."""

    @abstractmethod
    def context(self, samples: Sequence[int]) -> Frames:
        """Lengths and masks of a batch whose utterances have lengths of ``samples``."""

    def load(self, batch: Batch) -> State:
        """The audio of ``batch`` as the first layer takes it, float32. Shorter utterances are padded with zeros."""
        prepared = [self.front_end.prepare(load_audio(u, self.front_end.sample_rate)) for u in batch]
        audio = np.zeros((len(batch), max(map(len, prepared)), *prepared[0].shape[1:]), dtype=np.float32)
        for row, values in zip(audio, prepared, strict=True):
            row[: len(values)] = values
        return self.enter({HIDDEN: audio})

    def silence(self, samples: int) -> State:
        """The input of the first layer for one utterance of silence."""
        return self.enter({HIDDEN: self.front_end.prepare(np.zeros(samples, dtype=np.float32))[None]})

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        """Audio or stored hidden values as float32 tensors on the recogniser's device."""
        return {name: torch.as_tensor(values).to(self._device, torch.float32) for name, values in arrays.items()}

    @torch.inference_mode()
    def run(self, state: State, first: int, last: int, context: Frames) -> State:
        """Run the layers from ``first`` up to but without ``last``."""
        hidden = state[HIDDEN]
        reduced = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision, enabled=reduced):
            for name in self.layers[first:last]:
                hidden = self._runs[name](hidden, context).float()  # so that a pass may resume from stored float32
                self.samples[name] += context.samples
        return {HIDDEN: hidden}

    def logits(self, state: State, first: int, context: Frames) -> torch.Tensor:
        """The CTC logits, float32 ``(utterances, frames, classes)``, from the state that enters layer ``first``."""
        return self.run(state, first, len(self.layers), context)[HIDDEN].float()

    def recognise(
        self, state: State, first: int, context: Frames, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        """The text of the best path and the log posteriors by frame, for each utterance. CTC ignores ``guides``."""
        rows = context.rows(torch.log_softmax(self.logits(state, first, context), dim=-1))
        return [Recognised(self.front_end.vocabulary.decode(row.argmax(axis=-1)), row) for row in rows]

    def _attention_mask(self, hidden: torch.Tensor, context: Frames) -> torch.Tensor | None:
        """The mask of the padding, as transformers' attention takes it; None if nothing is padded."""
        mask = context.mask(hidden)
        if mask is None:
            return None
        create: Callable[..., Any] = create_bidirectional_mask  # it can also return a BlockMask, but not for our models
        found: torch.Tensor | None = create(config=self.model.config, inputs_embeds=hidden, attention_mask=mask)
        return found
