"""The interface of a recogniser as the search sees it: a torch model that runs layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stablequant.recognisers.modules import QuantizedModule

if TYPE_CHECKING:
    import numpy as np
    import torch

    from stablequant.corpora.front_end import FrontEnd
    from stablequant.corpora.utterance import Batch, Utterance

State = Mapping[str, "torch.Tensor"]  # up to 4 tensors that enter a layer, by names of up to 32 letters, for the cache
Guide = Sequence[int] | None  # tokens for which a decoder computes posteriors; None for CTC, which needs no tokens


@dataclass(frozen=True)
class Recognised:
    """What was recognised in one utterance.

    Attributes
    ----------
    text: the hypothesis
    log_posteriors: float32 ``(positions, classes)``; a position is a frame (CTC) or a token (decoder)
    guide: the tokens of the positions; other passes can compute posteriors for the same tokens; None for CTC
    """

    text: str
    log_posteriors: np.ndarray
    guide: Guide = None


class Context(Protocol):
    """What the layers need to know about a batch beside its values: lengths and masks. All passes share it.

    Attributes
    ----------
    samples: samples of audio in the batch, including padding
    padded: whether utterances differ in length; then the shorter ones are padded at the end
    """

    samples: int
    padded: bool

    def lengths(self, module: QuantizedModule) -> list[int]:
        """Number of vectors in each row of the input of ``module``, without padding.

        For a module that is called several times and has no padded rows: one number, the largest possible total.
        """


class Recogniser(Protocol):
    """A torch model that runs layer by layer over batches of utterances.

    Attributes
    ----------
    model: contains the quantized modules by their paths
    modules: every Linear and Conv1d that can be quantized, in the order in which the audio passes through them
    layers: names of their layers, in the same order; the output of layer ``i`` enters layer ``i + 1``
    resumable: index of the last layer before which a pass can start or stop; all later layers run together
    samples: samples of audio that passed through each layer so far, to count passes
    front_end: the audio that it takes and the words that it writes
    """

    model: torch.nn.Module
    modules: Sequence[QuantizedModule]
    layers: Sequence[str]
    resumable: int
    samples: Counter[str]
    front_end: FrontEnd

    def reduced(self, precision: str) -> Recogniser:
        """The same model, computing in ``precision``: float32, bfloat16 or float16."""

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order. The hidden values of a batch take at most ``budget`` bytes."""

    def context(self, samples: Sequence[int]) -> Context:
        """The context of a batch whose utterances have lengths of ``samples``."""

    def load(self, batch: Batch) -> State:
        """The audio of ``batch`` as the first layer takes it; raise `StableQuantError` if it cannot be read."""

    def silence(self, samples: int) -> State:
        """The input of the first layer for one utterance of silence."""

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        """Stored hidden values as float32 tensors on the recogniser's device."""

    def run(self, state: State, first: int, last: int, context: Context) -> State:
        """Run the layers from ``first`` up to but without ``last``; both are at most ``resumable``.

        ``state`` is what enters layer ``first``. The result is what enters layer ``last``.
        """

    def recognise(
        self, state: State, first: int, context: Context, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        """Run all layers from ``first`` on, which is at most ``resumable``, and decode each utterance.

        With ``guides``, posteriors are computed for these tokens, otherwise for the tokens that are recognised.
        """
