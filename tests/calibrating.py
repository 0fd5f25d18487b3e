"""A recogniser after its fp32 pass, as the search finds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stablequant.quantization.collecting import Preparation
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.wav2vec2.forward import Wav2Vec2Recogniser
from stablequant.search.hidden_values import HiddenValues
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split
from stablequant.search.trials import Calibration

KEY = {"checkpoint": "test"}  # of hidden values that are cached


@dataclass(frozen=True)
class Calibrated:
    """A recogniser after its fp32 pass over some utterances."""

    recogniser: Wav2Vec2Recogniser
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]
    calibration: Calibration

    @property
    def modules(self) -> list[QuantizedModule]:
        return self.recogniser.modules

    def of(self, layer: str) -> list[QuantizedModule]:
        return [m for m in self.modules if m.layer == layer]

    @property
    def largest(self) -> dict[str, Range]:
        return {name: full_range(h) for name, h in self.prepared.items()}


def calibrate(
    recogniser: Wav2Vec2Recogniser,
    split: Split,
    folder: Path,
    preparation: Preparation | None = None,
    cache_mb: float = 0,
    half: bool = False,
    precision: str = "float32",
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> Calibrated:
    """Run the pipeline's fp32 pass, its files in ``folder``. Weights not ``rounded`` are so to the nearest level."""
    files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "hidden_values.json")
    found = recognise_reference(recogniser, split, files, Cache(KEY, cache_mb, half), preparation, precision)
    reference = load_reference(files.summary, files.posteriors)
    hidden_values = HiddenValues(files.hidden_values, KEY, recogniser.layers) if cache_mb else None
    scales = preparation.channel_scales if preparation else {}
    calibration = Calibration(split, reference, hidden_values, 0, scales, rounded or {})
    return Calibrated(recogniser, found.histograms, found.prepared, calibration)
