"""The interface of recogniser families: all that search, engines, evaluation, transcription and bundle see of one.

A family is a package beside this module. It has four modules with fixed names; `stablequant.recognisers.registry` finds
them by name, and nothing else imports them:

==============  =====================================================================  ===================
module          what it offers                                                         who uses it
==============  =====================================================================  ===================
family.py       ``FAMILY``, a `Family`: what it claims, and its engine side             Snakefile, engines
importing.py    ``read(source)``: `Imported`, a checkpoint in one layout                import_checkpoint
loading.py      ``load(folder, device, threads)``: a `Recogniser` of torch modules      the search
export_onnx.py  ``export(folder, threads)``: its ONNX graphs                            export_onnx
==============  =====================================================================  ===================

``family.py`` imports nothing heavy at its top and never torch: the Snakefile and the engines' processes load it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    import torch

    from stablequant.corpora.utterance import Batch, Utterance
    from stablequant.corpora.writing import Writing


@dataclass(frozen=True)
class QuantizedModule:
    """One Linear or Conv1d.

    Attributes
    ----------
    layer: name of the unit that is probed and searched as a whole, such as ``transformer03``
    kind: what kind of layer that is, such as ``transformer``
    module: dotted path in the torch model, which is also its node's name in the exported graph
    activation: name of the module's input, ``layer`` or ``layer.tensor``; modules that read the same tensor share it
    """

    layer: str
    kind: str
    module: str
    activation: str


def layer_of_activation(activation: str) -> str:
    """The layer an activation belongs to: ``transformer03.fc1`` -> ``transformer03``."""
    return activation.split(".")[0]


# The search

State = Mapping[str, "torch.Tensor"]  # what enters a layer, by name; a cache stores it under these names
Guide = Sequence[int] | None  # tokens that posteriors are taken along; None where there are none to follow (CTC)


@dataclass(frozen=True)
class Recognised:
    """What a recogniser makes of one utterance.

    Attributes
    ----------
    text: the hypothesis
    log_posteriors: float32 ``(positions, classes)``: by frame (CTC), or by token along the guide
    guide: tokens for others to follow, where posteriors are taken along tokens
    """

    text: str
    log_posteriors: np.ndarray
    guide: Guide = None


class Context(Protocol):
    """What the layers must know of a batch beside its values: lengths and masks, computed once for all passes.

    Attributes
    ----------
    samples: of audio in the batch, padding included
    padded: whether utterances differ in length, so that padding follows the shorter ones
    """

    samples: int
    padded: bool

    def lengths(self, module: QuantizedModule) -> list[int]:
        """How many vectors enter ``module`` of each row of its input, padding left out.

        Of a module that is called several times, which no row is padded for, at most how many in all.
        """


class Recogniser(Protocol):
    """A model in torch that runs layer by layer over batches of utterances.

    Attributes
    ----------
    model: holds the quantized modules by their paths
    modules: every Linear and Conv1d that is quantized, in the order in which audio passes them
    layers: their layers, in that order; layer ``i`` turns the state before it into the state before ``i + 1``
    resumable: a pass may start or stop before each of the layers 0 to ``resumable``; later ones run as a whole only
    samples: of audio that passed each layer so far, by which passes are counted
    writing: the audio it takes and the words it writes
    """

    model: torch.nn.Module
    modules: Sequence[QuantizedModule]
    layers: Sequence[str]
    resumable: int
    samples: Counter[str]
    writing: Writing

    def reduced(self, precision: str) -> Recogniser:
        """The same model computing in ``precision``: float32, bfloat16 or float16."""

    def batches(self, utterances: Sequence[Utterance], budget: float, seed: int) -> list[Batch]:
        """Batches in a random order whose hidden values take at most ``budget`` bytes."""

    def context(self, samples: Sequence[int]) -> Context:
        """Of a batch of utterances of so many ``samples``."""

    def load(self, batch: Batch) -> State:
        """The batch's audio as the first layer takes it; raise `StableQuantError` where it cannot be read."""

    def silence(self, samples: int) -> State:
        """The same of one utterance of silence."""

    def enter(self, arrays: Mapping[str, np.ndarray]) -> State:
        """Stored hidden values, float32 on the recogniser's device."""

    def run(self, state: State, first: int, last: int, context: Context) -> State:
        """Pass ``state`` from before layer ``first`` to before layer ``last``, neither above ``resumable``."""

    def recognise(
        self, state: State, first: int, context: Context, guides: Sequence[Guide] | None = None
    ) -> list[Recognised]:
        """What is said, from the state before layer ``first``, which is at most ``resumable``.

        With ``guides`` posteriors are taken along these tokens, else along what is recognised.
        """


@dataclass(frozen=True)
class Imported:
    """A checkpoint that was read from wherever it comes.

    Attributes
    ----------
    model: in float32
    modules: what is quantized of it
    write: writes it into a folder, in the layout that the family's other modules read
    """

    model: torch.nn.Module
    modules: Sequence[QuantizedModule]
    write: Callable[[Path], None]


# Engines. No torch from here on.

Network = Callable[[Mapping[str, "np.ndarray"]], Mapping[str, "np.ndarray"]]  # tensors by name, in and out


class NotFiniteError(ArithmeticError):
    """A network's output contains NaN or infinity; ``row`` is the recording's place among those recognised."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the network's output for recording {row} contains NaN or infinity")
        self.row = row


class Tensor(NamedTuple):
    """An input or output of a graph: the names of its axes, and the type of its numbers."""

    axes: tuple[str, ...]
    dtype: str = "float32"


class Signature(NamedTuple):
    """What a graph takes and gives, by name.

    ``warm_up`` are sizes by axis: what an engine hears first when it is loaded.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    warm_up: Mapping[str, int]


class Limits(NamedTuple):
    """Sizes of an axis that an engine is built for; it is tuned for the typical one."""

    shortest: int
    typical: int
    longest: int


@dataclass(frozen=True)
class Word:
    """A word and when it is heard, in seconds from the recording's beginning."""

    word: str
    start: float
    end: float


class Decoder(Protocol):
    """A recogniser that runs as engines: audio in, words out."""

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float) -> list[Batch]:
        """Batches whose hidden values take at most ``budget`` bytes, of ``most`` utterances at most."""

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Hypotheses of recordings that form one batch, each float32 ``(samples,)``; raise `NotFiniteError`."""

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words of a recording of any length, cut into chunks of ``chunk_seconds``, batches as in `batches`."""


class Family(Protocol):
    """A family's light side.

    Attributes
    ----------
    name: of the family's package
    kinds: what it can quantize, for messages: values of ``model_type`` in config.json
    """

    name: str
    kinds: Sequence[str]

    def claims(self, config: Mapping[str, object]) -> bool:
        """Whether a checkpoint whose config.json is ``config`` is of this family."""

    def claims_file(self, path: Path) -> bool:
        """Whether a checkpoint in a single file is of this family."""

    def files(self, folder: Path) -> Sequence[str]:
        """Names of a checkpoint's files that its engines need beside the networks; config.json is one."""

    def sample_rate(self, folder: Path) -> int:
        """Of the audio that the recogniser in ``folder`` takes, in Hz."""

    def writing(self, folder: Path) -> Writing:
        """The audio that the recogniser in ``folder`` takes and the words it writes."""

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        """Of each graph of the recogniser in ``folder``, by the graph's name; the main graph comes first."""

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        """Sizes of all axes but ``batch`` for utterances of these ``samples``, or of ``longest`` samples at most."""

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> Decoder:
        """The recogniser in ``folder`` with ``networks``, by the graphs' names."""

    def usage(self, folder: Path) -> str:
        """How the graphs are used without StableQuant, a paragraph in Markdown for the model card."""


class Importing(Protocol):
    """A family's module ``importing``."""

    def read(self, source: Path) -> Imported:
        """A checkpoint's folder or file; raise `StableQuantError` where it is damaged or not supported."""


class Loading(Protocol):
    """A family's module ``loading``."""

    def load(self, folder: Path, device: str, threads: int) -> Recogniser:
        """The recogniser of an imported checkpoint, in float32 and evaluation mode."""


class Exporting(Protocol):
    """A family's module ``export_onnx``."""

    def export(self, folder: Path, threads: int) -> Mapping[str, ir.Model]:
        """The ONNX graphs of an imported checkpoint, by name; a module's product is a node of the module's name."""
