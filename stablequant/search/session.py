"""Load what probes and searches need: the recogniser, the calibration set and the reference."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.int8_weights import RoundedFile
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.products import reduce_weights
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.hidden_values import HiddenValues, cache_key
from stablequant.search.racing import Racing
from stablequant.search.reference import load_reference
from stablequant.search.split import read_split
from stablequant.search.trials import Calibration


class SearchFiles(Protocol):
    """Input files of a rule that probes or searches, as attributes of Snakemake's ``input``."""

    checkpoint: str
    utterances: str
    channel_scales: str
    weights: str
    summary: str
    posteriors: str

    def get(self, name: str) -> str | None:
        """The file ``name``; None if the rule has no such input. The cache, ``hidden_values``, is optional."""


@dataclass(frozen=True)
class Settings:
    """Settings for a job of the search.

    Attributes
    ----------
    device: auto, cpu or cuda
    threads: number of CPU threads of torch
    batch_mb: megabytes for the hidden values of a batch
    seed: seed for the order of batches, the bootstrap and racing
    confidence: confidence of racing's decisions (0 to 1); None without racing
    """

    device: str
    threads: int
    batch_mb: float
    seed: int
    confidence: float | None = None


@dataclass(frozen=True)
class Search:
    """Everything that a probe or a search works with.

    Attributes
    ----------
    recogniser: the recogniser, in the precision of the reference
    modules: modules of the layers that are quantized
    calibration: the calibration set
    racing: None without racing
    """

    recogniser: Recogniser
    modules: list[QuantizedModule]
    calibration: Calibration
    racing: Racing | None


def read_search(files: SearchFiles, settings: Settings, layers: Collection[str] | None = None) -> Search:
    """Read the input ``files`` of a rule. Only ``layers`` are quantized; without them, all layers.

    Raises `StableQuantError` if a file is missing or damaged, or if the cache belongs to another run.
    """
    checkpoint = Path(files.checkpoint)
    reference = load_reference(Path(files.summary), Path(files.posteriors))
    loaded = load_recogniser(checkpoint, settings.device, settings.threads)
    racing = Racing(settings.confidence, settings.seed) if settings.confidence else None
    split = read_split(loaded, Path(files.utterances), settings.batch_mb, settings.seed, racing is not None)
    modules = [m for m in loaded.modules if layers is None or m.layer in layers]
    recogniser = loaded if reference.precision == "float32" else loaded.reduced(reference.precision)
    if reference.precision != "float32":
        reduce_weights(recogniser.model, reference.precision, {m.module for m in modules})
    index = files.get("hidden_values")
    calibration = Calibration(
        split,
        reference,
        HiddenValues(Path(index), cache_key(checkpoint, split), recogniser.layers) if index else None,
        settings.seed,
        channel_scales=load_channel_scales(Path(files.channel_scales)),
        rounded=RoundedFile(Path(files.weights), {m.module for m in modules}),
    )
    return Search(recogniser, modules, calibration, racing)
