"""The interface of recogniser families. Search, engines, evaluation, transcription and bundle use only this interface.

A family is a package beside this module. It has four modules with fixed names. They are imported by these names, and
nothing else imports them:

==============  =====================================================================  ===================
module          content                                                                used by
==============  =====================================================================  ===================
family.py       ``FAMILY``, a `Family`: which checkpoints it takes, and its engines     Snakefile, engines
importing.py    ``read(source, language)``: `Imported`, a checkpoint in one layout      import_checkpoint
loading.py      ``load(folder, device, threads)``: a `Recogniser` of torch modules      the search
export_onnx.py  ``export(folder, threads)``: its ONNX graphs                            export_onnx
==============  =====================================================================  ===================

``family.py`` imports nothing heavy at the top and never torch, because the Snakefile and the processes of engines
import it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    import torch

    from stablequant.corpora.utterance import Batch, Utterance
    from stablequant.corpora.writing import Writing


@dataclass(frozen=True)
class QuantizedModule:
    """A Linear or Conv1d that can be quantized.

    Attributes
    ----------
    layer: name of its layer, such as ``transformer03``; a layer is probed and searched as a whole
    kind: kind of the layer, such as ``transformer``
    module: dotted path in the torch model; also the name of its node in the exported graph
    activation: name of its input, ``layer`` or ``layer.tensor``; modules that read the same tensor have the same name
    """

    layer: str
    kind: str
    module: str
    activation: str


def layer_of_activation(activation: str) -> str:
    """The layer an activation belongs to: ``transformer03.fc1`` -> ``transformer03``."""
    return activation.split(".")[0]


# The search

State = Mapping[str, "torch.Tensor"]  # the tensors that enter a layer, by name; a cache stores them under these names
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
    writing: the audio that it takes and the words that it writes
    """

    model: torch.nn.Module
    modules: Sequence[QuantizedModule]
    layers: Sequence[str]
    resumable: int
    samples: Counter[str]
    writing: Writing

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


@dataclass(frozen=True)
class Imported:
    """A checkpoint that was read from one of the supported formats.

    Attributes
    ----------
    model: the model in float32
    modules: its modules that can be quantized
    write: writes it into a folder, in the layout that the other modules of the family read
    """

    model: torch.nn.Module
    modules: Sequence[QuantizedModule]
    write: Callable[[Path], None]


# Engines. Nothing from here on uses torch.

Network = Callable[[Mapping[str, "np.ndarray"]], Mapping[str, "np.ndarray"]]  # inputs by name -> outputs by name


class NotFiniteError(ArithmeticError):
    """The output of a network contains NaN or infinity; ``row`` is the index of the recording in the batch."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the network's output for recording {row} contains NaN or infinity")
        self.row = row


class Tensor(NamedTuple):
    """An input or output of a graph: the names of its axes and the type of its values."""

    axes: tuple[str, ...]
    dtype: str = "float32"


class Signature(NamedTuple):
    """The inputs and outputs of a graph.

    Attributes
    ----------
    inputs, outputs: by name
    warm_up: size of each axis of the input on which an engine runs first, when it is loaded
    memory: inputs with what was computed before -> the output that gives it, of this graph or of the one before it. A
        caller passes such outputs on, or rows of them, and reads nothing of them: some engines give only references
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    warm_up: Mapping[str, int]
    memory: Mapping[str, str] = MappingProxyType({})


class Limits(NamedTuple):
    """Sizes of an axis for which an engine is built. It is tuned for the typical size."""

    shortest: int
    typical: int
    longest: int


@dataclass(frozen=True)
class Word:
    """A recognised word.

    Attributes
    ----------
    word: as it is written
    start, end: seconds from the beginning of the recording
    confidence: between 0 and 1, see `stablequant.recognisers.ctc.words.words_of`; None if the family gives none
    """

    word: str
    start: float
    end: float
    confidence: float | None = None


class Decoder(Protocol):
    """A recogniser whose networks run as engines."""

    def batches(self, utterances: Sequence[Utterance], budget: float, most: float) -> list[Batch]:
        """Batches of at most ``most`` utterances, whose hidden values take at most ``budget`` bytes."""

    def recognise(self, audio: Sequence[np.ndarray]) -> list[str]:
        """Hypotheses for the recordings of one batch, each float32 ``(samples,)``; raise `NotFiniteError`."""

    def transcribe(self, samples: np.ndarray, chunk_seconds: float, budget: float, most: float) -> list[Word]:
        """Words in a recording of any length, float32 ``(samples,)``; raise `NotFiniteError`.

        The recording is cut into chunks of ``chunk_seconds``. ``budget`` and ``most`` are as in `batches`.
        """


@dataclass(frozen=True)
class BeamSearch:
    """How to search for words with a language model of words, hot words, or both.

    A text scores the logarithm of its posterior, plus ``weight`` times that of its probability by the language model,
    plus ``word_bonus`` for each word.

    Attributes
    ----------
    language_model: file of an n-gram model, ARPA (also gzipped) or KenLM's binary; None for none
    hot_words: words or phrases that are expected
    hot_word_weight: what a hot word adds to the score
    beam: number of texts that are followed at once
    weight, word_bonus: see above
    """

    language_model: Path | None = None
    hot_words: Sequence[str] = ()
    hot_word_weight: float = 10.0
    beam: int = 100
    weight: float = 0.5
    word_bonus: float = 1.5


@runtime_checkable
class SearchingDecoder(Decoder, Protocol):
    """A decoder that can search for words with a language model."""

    def searching(self, settings: BeamSearch) -> SearchingDecoder:
        """The same recogniser, which searches with ``settings``; raise `StableQuantError` if it cannot."""


@runtime_checkable
class BatchDecoder(Decoder, Protocol):
    """A decoder that recognises parts of several recordings at once."""

    def transcribe_all(
        self, recordings: Sequence[np.ndarray], chunk_seconds: float, budget: float, most: float
    ) -> list[list[Word]]:
        """`transcribe` for each of ``recordings``; `NotFiniteError` names the recording."""


class Family(Protocol):
    """The part of a family that needs no torch.

    Attributes
    ----------
    name: name of the family's package
    kinds: values of ``model_type`` in config.json that it supports, for messages
    heads: how the names of architectures end that have a head which writes text
    """

    name: str
    kinds: Sequence[str]
    heads: Sequence[str]

    def claims(self, config: Mapping[str, object]) -> bool:
        """Whether a checkpoint whose config.json is ``config`` belongs to this family."""

    def claims_file(self, path: Path) -> bool:
        """Whether a checkpoint in the single file ``path`` belongs to this family."""

    def files(self, folder: Path) -> Sequence[str]:
        """Names of the checkpoint's files that an engine needs beside its networks; config.json is one of them."""

    def sample_rate(self, folder: Path) -> int:
        """Sample rate in Hz of the audio that the recogniser in ``folder`` takes."""

    def writing(self, folder: Path) -> Writing:
        """The audio that the recogniser in ``folder`` takes and the words that it writes."""

    def signatures(self, folder: Path) -> Mapping[str, Signature]:
        """Signature of each graph of the recogniser in ``folder``, by graph name. The main graph comes first."""

    def limits(self, folder: Path, samples: Sequence[int], longest: int) -> Mapping[str, Limits]:
        """Sizes of all axes except ``batch``, for utterances with lengths of ``samples`` and for up to ``longest``."""

    def decoder(self, folder: Path, networks: Mapping[str, Network]) -> Decoder:
        """The recogniser in ``folder`` with ``networks`` by graph name."""

    def published(self, folder: Path) -> Mapping[str, str]:
        """Files of a bundle that other libraries look for: their names there, and the files that they are.

        A file is named relative to the bundle, such as ``encoder.onnx`` or ``engines/openvino/encoder.xml``, or it is a
        file of the imported checkpoint in ``folder``.
        """

    def usage(self, folder: Path) -> str:
        """How to use the graphs without StableQuant: a paragraph in Markdown for the model card."""


class Importing(Protocol):
    """The module ``importing`` of a family."""

    def read(self, source: Path, language: str | None = None) -> Imported:
        """Read a checkpoint's folder or file.

        ``language`` is the language whose adapter and vocabulary to take, of a checkpoint with several. Raises
        `StableQuantError` if the checkpoint is damaged or not supported, or has no such language.
        """


class Loading(Protocol):
    """The module ``loading`` of a family."""

    def load(self, folder: Path, device: str, threads: int) -> Recogniser:
        """Load an imported checkpoint as a recogniser, in float32 and evaluation mode."""


class Exporting(Protocol):
    """The module ``export_onnx`` of a family."""

    def export(self, folder: Path, threads: int) -> Mapping[str, ir.Model]:
        """The ONNX graphs of an imported checkpoint, by name. The product of a module is a node with its name."""
