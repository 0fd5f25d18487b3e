"""A split recognised by a whole recogniser in torch: in fp32, and with all its layers in INT8, in simulation."""

from collections.abc import Mapping
from pathlib import Path

import torch

from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.simulation import fake_quantized
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split, loaded
from stablequant.search.trials import Calibration, Outcome, Trial


def files_in(folder: Path) -> Files:
    """Where fp32's recognition of a split lies, in ``folder``."""
    return Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "hidden_values.json")


def collect(recogniser: Recogniser, split: Split, preparation: Preparation) -> dict[str, Histogram]:
    """Histograms of all activations over ``split``."""
    with collecting(recogniser.model, recogniser.modules, preparation) as collectors:
        for _, context, state in loaded(recogniser, split.batches, "histograms"):
            collectors.context = context
            recogniser.recognise(state, 0, context)
    return collectors.histograms()


def measure_fp32(
    recogniser: Recogniser,
    split: Split,
    folder: Path,
    preparation: Preparation,
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> tuple[Calibration, dict[str, Histogram]]:
    """Recognise ``split`` in fp32, the files in ``folder``, which must be empty.

    Returns it as trials need it, with the channel scales of ``preparation`` and the weights ``rounded``, and the
    histograms of the activations as ``preparation`` prepares them.
    """
    files = files_in(folder)
    prepared = preparation if preparation.changes_anything else None
    found = recognise_reference(recogniser, split, files, Cache({}, 0), prepared)
    reference = load_reference(files.summary, files.posteriors)
    calibration = Calibration(split, reference, None, split.seed, preparation.channel_scales, rounded or {})
    return calibration, found.prepared


def recognise_int8(
    recogniser: Recogniser,
    calibration: Calibration,
    ranges: Mapping[str, Range],
    weights: Mapping[str, torch.Tensor],
    label: str,
) -> Outcome:
    """The split with every module whose activation is in ``ranges`` quantized, its weight that of ``weights``."""
    trial = Trial(ranges, calibration)
    modules = [m for m in recogniser.modules if m.activation in ranges]
    with fake_quantized(recogniser.model, modules, ranges, calibration.channel_scales, weights):
        for batch, context, state in loaded(recogniser, calibration.split.batches, label):
            trial.add(batch, recogniser.recognise(state, 0, context, calibration.reference.guides_of(batch)))
    return trial.outcome()
