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
import it. What a recogniser does in the search is in `stablequant.recognisers.recogniser`, and what it does with
engines in `stablequant.recognisers.decoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from stablequant.recognisers.decoder import Decoder
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.recogniser import Recogniser

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    import torch

    from stablequant.corpora.front_end import FrontEnd

Network = Callable[[Mapping[str, "np.ndarray"]], Mapping[str, "np.ndarray"]]  # inputs by name -> outputs by name


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

    def front_end(self, folder: Path) -> FrontEnd:
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
