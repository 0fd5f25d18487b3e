"""The recogniser as a chain of its layers, so that a pass may start and end at any of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers.masking_utils import create_bidirectional_mask

from stablequant.recognisers.wav2vec2.layers import layer_names_of


class Frames:
    """What the layers must know of a batch beside its values: how long each utterance is.

    Attributes
    ----------
    samples: of audio in the batch, padding included
    padded: whether the utterances differ in length, so that what follows the shorter ones is padding
    counts: frames of each utterance at the encoder's rate
    """

    def __init__(self, config: Any, samples: Sequence[int]) -> None:
        self.samples = max(samples) * len(samples)
        self.padded = len(set(samples)) > 1
        self._lengths = [list(samples)]
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self._lengths.append([(length - kernel) // stride + 1 for length in self._lengths[-1]])
        self.counts = self._lengths[-1]
        self._shared: dict[str, Any] = {}

    def entering(self, layer: str) -> list[int]:
        """Length of each utterance in the values that enter ``layer``."""
        return self._lengths[int(layer[3:]) - 1] if layer.startswith("cnn") else self.counts

    def mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """bool ``(utterances, frames)``, true where there is audio; None where nothing is padded."""
        if not self.padded:
            return None
        frames = torch.arange(hidden.shape[1], device=hidden.device)
        return frames < torch.tensor(self.counts, device=hidden.device)[:, None]

    def rows(self, values: torch.Tensor) -> list[np.ndarray]:
        """``values`` ``(utterances, frames, classes)`` of each utterance, without padding."""
        return [row[:count] for row, count in zip(values.cpu().numpy(), self.counts, strict=True)]

    def shared(self, name: str, compute: Callable[[], Any]) -> Any:
        """What all layers and all passes of the batch share, computed once."""
        if name not in self._shared:
            self._shared[name] = compute()
        return self._shared[name]


Run = Callable[[torch.Tensor, Frames], torch.Tensor]


class Stages:
    """A CTC model's layers in the order in which audio passes them; all of them together are ``model(audio).logits``.

    Attributes
    ----------
    names: the layers, ``cnn01`` ... ``head``; layer ``i`` turns the hidden values before it into those before ``i + 1``
    samples: of audio that passed each layer so far, by which passes are counted
    """

    def __init__(self, model: Any, precision: torch.dtype = torch.float32) -> None:
        self.model = model
        self.names = layer_names_of(model.config.to_dict())
        self.samples: Counter[str] = Counter()
        self._precision = precision
        self._device = next(model.parameters()).device
        self._encoder = model.base_model.encoder
        runs: list[Run] = [partial(_convolution, layer) for layer in model.base_model.feature_extractor.conv_layers]
        runs.append(self._projection)
        if "positional" in self.names:
            runs.append(self._positional)
        runs += [partial(self._transformer, layer) for layer in self._encoder.layers]
        runs.append(self._head)
        self._runs = dict(zip(self.names, runs, strict=True))
        pre_norm = getattr(model.config, "do_stable_layer_norm", False)
        self._norm_after = pre_norm or model.config.model_type == "wav2vec2-conformer"

    def frames(self, samples: Sequence[int]) -> Frames:
        """What the layers must know of a batch of utterances of so many ``samples``."""
        return Frames(self.model.config, samples)

    def enter(self, values: Any) -> torch.Tensor:
        """Audio ``(utterances, samples)`` or stored hidden values, float32 on the recogniser's device."""
        return torch.as_tensor(values).to(self._device, torch.float32)

    @torch.inference_mode()
    def run(self, hidden: torch.Tensor, first: int, last: int, frames: Frames) -> torch.Tensor:
        """Pass ``hidden`` through the layers from number ``first`` to before number ``last``.

        Before the first layer it is audio ``(utterances, samples)``, up to ``projection`` ``(utterances, channels,
        frames)``, then ``(utterances, frames, width)``, and behind the head ``(utterances, frames, classes)``.
        """
        reduced = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision, enabled=reduced):
            for name in self.names[first:last]:
                hidden = self._runs[name](hidden, frames)
                self.samples[name] += frames.samples
        return hidden

    def logits(self, hidden: torch.Tensor, first: int, frames: Frames) -> torch.Tensor:
        """The CTC logits, float32 ``(utterances, frames, classes)``, of what enters layer number ``first``."""
        return self.run(hidden, first, len(self.names), frames).float()

    def _projection(self, hidden: torch.Tensor, frames: Frames) -> torch.Tensor:
        projected = self.model.base_model.feature_projection(hidden.transpose(1, 2))
        if isinstance(projected, tuple):  # wav2vec 2.0 returns the normalised features too
            projected = projected[0]
        mask = frames.mask(projected)
        return projected if mask is None else projected.masked_fill(~mask[..., None], 0)

    def _positional(self, hidden: torch.Tensor, _frames: Frames) -> torch.Tensor:
        hidden = hidden + self._encoder.pos_conv_embed(hidden)
        return hidden if self._norm_after else self._encoder.layer_norm(hidden)

    def _transformer(self, layer: Any, hidden: torch.Tensor, frames: Frames) -> torch.Tensor:
        kind = self.model.config.model_type
        if kind == "wavlm":
            mask = frames.shared("mask", lambda: frames.mask(hidden))
            bias = frames.shared("bias", lambda: self._position_bias(hidden))
            return layer(hidden, attention_mask=mask, position_bias=bias)[0]
        mask = frames.shared("mask", lambda: self._attention_mask(hidden, frames))
        if kind == "wav2vec2-conformer":
            positions = frames.shared("positions", lambda: self._positions(hidden))
            return layer(hidden, attention_mask=mask, relative_position_embeddings=positions)
        return layer(hidden, attention_mask=mask)

    def _head(self, hidden: torch.Tensor, _frames: Frames) -> torch.Tensor:
        return self.model.lm_head(self._encoder.layer_norm(hidden) if self._norm_after else hidden)

    def _attention_mask(self, hidden: torch.Tensor, frames: Frames) -> Any:
        mask = frames.mask(hidden)
        if mask is None:
            return None
        return create_bidirectional_mask(config=self.model.config, inputs_embeds=hidden, attention_mask=mask)

    def _position_bias(self, hidden: torch.Tensor) -> torch.Tensor:
        """WavLM's bias of the first layer, which all layers share, ``(utterances * heads, frames, frames)``."""
        frames = hidden.shape[1]
        return self._encoder.layers[0].attention.compute_bias(frames, frames).repeat(len(hidden), 1, 1)

    def _positions(self, hidden: torch.Tensor) -> torch.Tensor | None:
        return self._encoder.embed_positions(hidden) if self._encoder.embed_positions is not None else None


def _convolution(layer: torch.nn.Module, hidden: torch.Tensor, _frames: Frames) -> torch.Tensor:
    return layer(hidden[:, None] if hidden.ndim == 2 else hidden)
