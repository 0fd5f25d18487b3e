"""All layers quantized together, in several variants."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from stablequant.progress import progress
from stablequant.quantization.histograms import UNCLIPPED, Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import operation_of
from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.split import context_of
from stablequant.search.swapped_weights import SwappedWeights
from stablequant.search.trials import Calibration, Outcome, Trial


@dataclass(frozen=True)
class Choice:
    """How each layer is quantized.

    Attributes
    ----------
    percentiles: cut-off percentile by layer, in percent; layers that are missing are not clipped
    float_layers: layers that stay in floating point
    """

    percentiles: Mapping[str, float]
    float_layers: frozenset[str] = frozenset()

    def clipped(self, layers: Sequence[str], percentile: float) -> "Choice":
        """The same choice, but with ``layers`` clipped at ``percentile``."""
        return replace(self, percentiles={**self.percentiles, **dict.fromkeys(layers, percentile)})

    def without(self, layers: Sequence[str]) -> "Choice":
        """The same choice, but with ``layers`` in floating point."""
        return replace(self, float_layers=self.float_layers | set(layers))


class Combination:
    """The recogniser with all layers quantized, in several variants.

    The range of each activation is the one with the least squared error over the histogram clipped at the cut-off of
    its layer.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        modules: Sequence[QuantizedModule],
        histograms: Mapping[str, Histogram],
        calibration: Calibration,
    ) -> None:
        self.layers = list(recogniser.layers)
        self._recogniser, self._modules, self._calibration = recogniser, modules, calibration
        self._histograms = histograms
        self._weights = SwappedWeights(recogniser.model, modules, calibration)
        self._ranges: dict[tuple[str, float], Range] = {}

    def size(self, layer: str) -> int:
        """Number of weights in ``layer``."""
        return sum(operation_of(self._recogniser.model, m).weight.numel() for m in self._modules if m.layer == layer)

    def recognise(self, choice: Choice) -> Outcome:
        """Recognise the calibration set with the layers quantized as in ``choice``."""
        return self.vary(choice, [(self.layers[:1], choice)])[0]

    def vary(
        self, base: Choice, variants: Sequence[tuple[Sequence[str], Choice]], audio_seconds: float = math.inf
    ) -> list[Outcome]:
        """Recognise the calibration set with each of ``variants``.

        A variant is a pair: the layers in which it differs from ``base``, and its choice. The layers before these are
        computed only once per batch. ``audio_seconds`` of the set are used, see `Split.other_sample`.
        """
        recogniser = self._recogniser
        firsts = [min(recogniser.resumable, *(self.layers.index(layer) for layer in layers)) for layers, _ in variants]
        self._find_ranges([base, *(choice for _, choice in variants)])
        trials = [Trial(self.ranges_of(choice), self._calibration) for _, choice in variants]
        shared = self.ranges_of(base)
        batches = self._calibration.split.other_sample(audio_seconds)
        ordered = sorted(zip(firsts, trials, strict=True), key=lambda pair: pair[0])
        total = len(trials) * sum(len(batch) for batch in batches)
        with self._weights.swapping(), progress(total=total, label="all layers quantized") as recognised:
            for batch in batches:
                context, state = context_of(recogniser, batch), recogniser.load(batch)
                guides = self._calibration.reference.guides_of(batch)
                entered = 0
                for first, trial in ordered:
                    if first > entered:
                        with self._quantized(shared):
                            state, entered = recogniser.run(state, entered, first, context), first
                    with self._quantized(trial.ranges):
                        trial.add(batch, recogniser.recognise(state, first, context, guides))
                    recognised.update(len(batch))
        return [trial.outcome() for trial in trials]

    @contextmanager
    def _quantized(self, ranges: Mapping[str, Range]) -> Iterator[None]:
        modules = [m for m in self._modules if m.activation in ranges]
        self._weights.quantize([m.module for m in modules])
        weights, scales = self._weights.in_memory(modules), self._calibration.channel_scales
        with fake_quantized(self._recogniser.model, modules, ranges, scales, weights):
            yield

    def percentile_of(self, choice: Choice, module: QuantizedModule) -> float:
        """Cut-off percentile of the activations of ``module``, in percent."""
        return choice.percentiles.get(module.layer, UNCLIPPED)

    def ranges_of(self, choice: Choice) -> dict[str, Range]:
        """Range of each activation that is quantized in ``choice``, by activation name."""
        self._find_ranges([choice])
        return {activation: self._ranges[activation, percentile] for activation, percentile in self._wanted(choice)}

    def _wanted(self, choice: Choice) -> set[tuple[str, float]]:
        """Activations that are quantized in ``choice``, with their cut-offs."""
        quantized = (m for m in self._modules if m.layer not in choice.float_layers)
        return {(name, self.percentile_of(choice, m)) for m in quantized for name in m.tensors(self._histograms)}

    def _find_ranges(self, choices: Sequence[Choice]) -> None:
        """Find the ranges that ``choices`` need and that are not known yet."""
        missing = {pair for choice in choices for pair in self._wanted(choice)} - self._ranges.keys()
        if missing:
            for activation, percentile in progress(sorted(missing), label="ranges of least error"):
                self._ranges[activation, percentile] = mse_range(self._histograms[activation], percentile)
