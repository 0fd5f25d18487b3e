"""What probes and searches have in common: the recogniser, the calibration set and what fp32 made of it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stablequant.quantization.channel_scales import load_scales
from stablequant.quantization.int8_weights import load_rounded
from stablequant.recognisers.family import QuantizedModule, Recogniser
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.activations import Activations, cache_key
from stablequant.search.racing import Racing
from stablequant.search.reference import load_reference
from stablequant.search.split import read_split
from stablequant.search.trials import Calibration


class SearchFiles(Protocol):
    """Input files of a rule that probes or searches, as Snakemake names them."""

    checkpoint: str
    utterances: str
    equalisation: str
    weights: str
    summary: str
    posteriors: str

    def get(self, name: str) -> str | None:
        """``activations``, the index of the hidden values, where the job resumes from them."""


@dataclass(frozen=True)
class Settings:
    """How a job of the search runs.

    Attributes
    ----------
    device: auto, cpu or cuda
    threads: of torch on a CPU
    batch_mb: megabytes for the hidden values of what is recognised at once
    seed: of the order of batches, of the bootstrap and of racing
    confidence: of racing's decisions; None where no probe ends early
    """

    device: str
    threads: int
    batch_mb: float
    seed: int
    confidence: float | None = None


@dataclass(frozen=True)
class Search:
    """All that a probe or a search works on; ``modules`` are those of the layers that it quantizes."""

    recogniser: Recogniser
    modules: list[QuantizedModule]
    calibration: Calibration
    racing: Racing | None


def read_search(files: SearchFiles, settings: Settings, layers: Collection[str] | None = None) -> Search:
    """Read a rule's input ``files``. Without ``layers`` all are quantized."""
    checkpoint = Path(files.checkpoint)
    reference = load_reference(Path(files.summary), Path(files.posteriors))
    loaded = load_recogniser(checkpoint, settings.device, settings.threads)
    racing = Racing(settings.confidence, settings.seed) if settings.confidence else None
    split = read_split(loaded, Path(files.utterances), settings.batch_mb, settings.seed, racing is not None)
    recogniser = loaded if reference.precision == "float32" else loaded.reduced(reference.precision)
    modules = [m for m in recogniser.modules if layers is None or m.layer in layers]
    index = files.get("activations")
    calibration = Calibration(
        split,
        reference,
        Activations(Path(index), cache_key(checkpoint, split), recogniser.layers) if index else None,
        settings.seed,
        channel_scales=load_scales(Path(files.equalisation)),
        rounded=load_rounded(Path(files.weights), {m.module for m in modules}),
    )
    return Search(recogniser, modules, calibration, racing)
