"""Collect histograms of all activations in one pass, with fixed memory."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from stablequant.errors import StableQuantError
from stablequant.quantization.equalised import reciprocal
from stablequant.quantization.histograms import TINIEST, Histogram
from stablequant.quantization.int8 import Carried
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import Operation, channel_axis, is_padded, operation_of, reads_audio
from stablequant.recognisers.recogniser import Context

DROPPED = 15  # lowest bits of a float32 that are ignored; its sign, its exponent and 8 bits of its mantissa are left
SIGN = 2 ** (31 - DROPPED)  # the sign among the bits that are left
FINITE = 0x7F80_0000 >> DROPPED  # largest number of a bin without its sign; its upper edge is infinity


class HistogramCollector:
    """Counts values in bins that are as fine as the leading bits of float32: 2^-8 to 2^-9 of the value wide.

    So the bins do not depend on what was counted before, and one very large value costs the others no resolution. The
    bin of a magnitude has the number that its bits form without the lowest `DROPPED`, rounded up. Number 0 counts only
    zeros.

    Attributes
    ----------
    signed: whether values are counted with their signs; otherwise their magnitudes are
    split: stored in the histogram, see `stablequant.quantization.histograms.Histogram`
    carried: channels that are not counted, and their largest magnitude so far
    low, high: smallest value (0 if there is none below 0), and the largest (0 if there is none above 0)
    counts: int64 ``(bins,)``; if signed, the second half counts negative values
    """

    def __init__(self, signed: bool = False, split: bool = False, carried: Sequence[int] = ()) -> None:
        self.signed, self.split = signed, split
        self.carried = Carried(tuple(carried), 0.0) if carried else None
        self.low = self.high = 0.0
        self.counts = np.zeros(2 * SIGN if signed else SIGN, dtype=np.int64)

    def collect(self, values: torch.Tensor) -> None:
        """Count ``values`` (any shape); raise `StableQuantError` if they contain NaN or infinity."""
        counted = values.detach().float().flatten()
        smallest, largest = _extremes(counted)
        self.low, self.high = min(self.low, smallest), max(self.high, largest)
        # The carry of a finite number never reaches the sign. The shift repeats it, and the mask removes the copies.
        rounded_up = counted.view(torch.int32).add(2**DROPPED - 1).bitwise_right_shift_(DROPPED)
        found = torch.bincount(rounded_up.bitwise_and_(len(self.counts) - 1)).cpu().numpy()
        used = np.flatnonzero(found)  # most bins stay empty, and the memory of their pages is never taken
        self.counts[used] += found[used]

    def collect_channels(self, values: torch.Tensor, channel_axis: int) -> None:
        """Count ``values``, but of the carried channels, which ``channel_axis`` counts, only the largest magnitude."""
        if self.carried is None:
            self.collect(values)
            return
        carried = torch.zeros(values.shape[channel_axis], dtype=torch.bool, device=values.device)
        carried[list(self.carried.channels)] = True
        smallest, largest = _extremes(values.index_select(channel_axis, carried.nonzero()[:, 0]))
        self.carried = replace(self.carried, amax=max(self.carried.amax, -smallest, largest))
        self.collect(values.index_select(channel_axis, (~carried).nonzero()[:, 0]))

    def histogram(self) -> Histogram:
        """The histogram of what was counted so far. Neighbouring empty bins are joined."""
        counts = self.counts
        upper = (np.arange(FINITE + 1, dtype=np.uint32) << DROPPED).view(np.float32).astype(np.float64)
        lower = np.concatenate([[0.0, TINIEST], upper[1:-1]])
        upper[0] = TINIEST
        if self.signed:
            negative = counts[SIGN : SIGN + FINITE + 1]
            zeros = counts[0] + negative[0]  # the latter are -0
            counts = np.concatenate([negative[:0:-1], [zeros], counts[1 : FINITE + 1]])
            ends = np.concatenate([-lower[:1:-1], [0.0]])  # upper edges below 0
            lower, upper = np.concatenate([-upper[:0:-1], lower]), np.concatenate([ends, upper])
        used = np.flatnonzero(counts)
        edges = np.unique([lower[used], upper[used]])
        joined = np.zeros(len(edges) - 1, dtype=np.int64)
        joined[np.searchsorted(edges, lower[used])] = counts[used]
        largest = self.high if self.signed else max(-self.low, self.high)
        if largest > TINIEST:
            edges[-1] = largest
        if self.signed and self.low < 0:
            edges[0] = self.low
        return Histogram(joined, edges, self.signed, self.split, self.carried)


def _extremes(values: torch.Tensor) -> tuple[float, float]:
    """The smallest and the largest of ``values``; raise `StableQuantError` if they contain NaN or infinity."""
    smallest, largest = (extreme.item() for extreme in values.aminmax())
    if not math.isfinite(smallest) or not math.isfinite(largest):
        raise StableQuantError(
            "the recogniser's activations",
            "they contain NaN or infinity",
            "check its weights, or take precision: float32",
        )
    return smallest, largest


class Collectors(dict[str, HistogramCollector]):
    """Collectors by activation name. Set ``context`` for each batch, so that its padding is not counted."""

    context: Context | None = None

    def histograms(self) -> dict[str, Histogram]:
        """Histograms by activation name."""
        return {name: collector.histogram() for name, collector in self.items()}


@dataclass(frozen=True)
class Preparation:
    """How activations are prepared for quantization.

    Attributes
    ----------
    channel_scales: divisors of the channels, float32 ``(channels,)`` by activation name
    recentre: whether the centre of a range may differ from 0, for operations without zero padding
    split_audio: whether the audio is quantized as two numbers: a coarse one and its rounding error
    carried: channels that are quantized apart from the rest, as two numbers, by activation name
    outputs: names of the outputs of modules that are quantized too
    """

    channel_scales: Mapping[str, np.ndarray] = field(default_factory=dict)
    recentre: bool = False
    split_audio: bool = False
    carried: Mapping[str, Sequence[int]] = field(default_factory=dict)
    outputs: Collection[str] = ()

    @property
    def changes_anything(self) -> bool:
        """Whether any activation is changed before it is quantized."""
        changed = self.channel_scales, self.recentre, self.split_audio, self.carried, self.outputs
        return any(map(bool, changed))


@contextmanager
def collecting(
    model: torch.nn.Module, modules: Iterable[QuantizedModule], preparation: Preparation | None = None
) -> Iterator[Collectors]:
    """Collectors that count the inputs of ``modules`` in every forward pass of ``model`` inside the block.

    With ``preparation``, activations are divided by their channel scales first. Signs are counted if the centre of the
    range may differ from 0. The histogram of audio that will be quantized as two numbers has ``split`` set. Carried
    channels are left out. The outputs that it names are counted as they are.
    """
    chosen = preparation or Preparation()
    collectors = Collectors()
    handles = []
    for module in modules:
        operation = operation_of(model, module)
        if module.output_activation in chosen.outputs:
            collectors[module.output_activation] = HistogramCollector()

            def output_hook(
                operation: Operation,
                _inputs: tuple[torch.Tensor, ...],
                output: torch.Tensor,
                module: QuantizedModule = module,
            ) -> None:
                for part in unpadded(output, module, operation, collectors.context):
                    collectors[module.output_activation].collect(part)

            handles.append(operation.register_forward_hook(output_hook))
        if module.activation in collectors:
            continue
        split = chosen.split_audio and reads_audio(operation)
        collectors[module.activation] = HistogramCollector(
            chosen.recentre and not split and not is_padded(operation),
            split,
            chosen.carried.get(module.activation, ()),
        )
        factor = reciprocal(operation, chosen.channel_scales.get(module.activation))

        def hook(
            operation: Operation,
            inputs: tuple[torch.Tensor, ...],
            module: QuantizedModule = module,
            factor: torch.Tensor | None = factor,
        ) -> None:
            values = inputs[0] if factor is None else inputs[0] * factor
            for part in unpadded(values, module, operation, collectors.context):
                collectors[module.activation].collect_channels(part, channel_axis(operation) - 2)

        handles.append(operation.register_forward_pre_hook(hook))
    try:
        yield collectors
    finally:
        for handle in handles:
            handle.remove()


def unpadded(
    values: torch.Tensor, module: QuantizedModule, operation: Operation, context: Context | None
) -> Iterable[torch.Tensor]:
    """The ``values`` that enter or leave ``operation``, as many vectors as enter it, without padding.

    It is one tensor ``(utterances, ...)`` if nothing is padded, otherwise one tensor per utterance.
    """
    if context is None or not context.padded:
        return [values]
    time_axis = 1 - channel_axis(operation)  # of one utterance's two axes
    return [row.narrow(time_axis, 0, length) for row, length in zip(values, context.lengths(module), strict=True)]
